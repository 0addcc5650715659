"""`torch.compile` under a memory budget: its partitioner decides what is saved and what is computed again.

Where torch can generate code for the device it does. Where it cannot, as for the simulated one, the same partitioner
splits the graph and its two halves run kernel by kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pamiq_storm.bench.arms import PlainArm, Workload

BUDGETS = (1.0, 0.7, 0.5, 0.3, 0.1)
"""Shares of what would be saved without recomputation."""

LIMIT = 64


class CompiledArm(PlainArm):
    """Each block compiled with `activation_memory_budget`, once for all that are alike; what is around them is not."""

    def __init__(self, workload: Workload, budget: float, device: torch.device) -> None:
        super().__init__(workload)
        self.name = arm_name(budget)
        self._budget = budget
        backend = _backend(device)  # one for all: what was compiled is found by it
        for block in workload.blocks:
            block.compile(dynamic=False, **backend)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        from torch._dynamo import config as dynamo
        from torch._functorch import config

        # Read when a first call compiles. Blocks of other shapes are compiled again, whatever their number.
        with config.patch(activation_memory_budget=self._budget), dynamo.patch(recompile_limit=LIMIT):
            return super().forward(inputs, targets)

    def close(self) -> None:
        for block in self._workload.blocks:
            block._compiled_call_impl = None
        torch._dynamo.reset()


def arm_name(budget: float) -> str:
    """How the arm is called in results."""
    return f"compile@{budget:g}"


def generates_code(device: torch.device) -> bool:
    """Whether torch's own backend is used."""
    return device.type in ("cuda", "cpu", "xpu")


def _backend(device: torch.device) -> dict[str, Any]:
    if generates_code(device):
        return {}
    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch.compilers import nop
    from torch._functorch.partitioners import min_cut_rematerialization_partition

    eager = aot_autograd(fw_compiler=nop, bw_compiler=nop, partition_fn=min_cut_rematerialization_partition)
    return {"backend": eager}
