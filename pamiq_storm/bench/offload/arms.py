"""The ways to train that are compared, by name, and how each is made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pamiq_storm import OffloadConfig
from pamiq_storm.bench.arms import Arm, CheckpointArm, PlainArm, SaveOnCpuArm, StormArm, Workload
from pamiq_storm.bench.offload import compiled, peers

WINDOW_SHARE = 32


@dataclass(frozen=True)
class Bounds:
    """What of the machine ours goes by. Its own choice, but fixed: the memory limit may be lifted, and host memory that
    is free has nothing to do with a machine that is simulated."""

    window_bytes: int
    host_bytes: int | None
    """None: what is free."""
    min_bytes: int | str = "64KiB"

    @staticmethod
    def of(memory_bytes: int, host_bytes: int | None) -> Bounds:
        """Those that ours chooses for a device of this size."""
        return Bounds(memory_bytes // WINDOW_SHARE, host_bytes)


Make = Callable[[Workload, torch.device, Bounds], Arm]


@dataclass(frozen=True)
class ArmKind:
    """How to make an arm, and what it is made of."""

    make: Make
    hooks: str
    """`none`, `bare` (Python hooks that do next to nothing), `python` or `storm`: what is charged for them."""
    portable: bool = False
    """One that is made serves any profile: making it takes long, and nothing in it depends on the machine."""


class PeerArm(PlainArm):
    """A peer's context manager around the whole forward, made as its users make it."""

    def __init__(self, workload: Workload, name: str, device: torch.device) -> None:
        super().__init__(workload)
        self.name = name
        self._model = workload.model
        with _hooks_kept_apart(workload.model) as self._hooks:
            self._context = _peer_context(peers.load(name, device.type), name, workload.model)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        with self._context:
            return super().forward(inputs, targets)

    def close(self) -> None:
        for table, added in self._hooks:
            for key in added:
                table.pop(key, None)


def _peer_context(module: Any, name: str, model: nn.Module) -> AbstractContextManager[Any]:
    if name == "trl":
        return module.get_act_offloading_ctx_manager(model, warn_if_no_head=False)
    if hasattr(model, "output"):
        return module.get_act_offloading_ctx_manager(model, enable_activation_offloading=True)
    return module.OffloadActivations()  # what the function gives too, after a warning that there is no head


@contextmanager
def _hooks_kept_apart(model: nn.Module) -> Iterator[list[tuple[dict[int, Any], list[int]]]]:
    """Lists the hooks that modules get inside, since the peers keep no handle of theirs."""
    tables: list[dict[int, Any]] = [
        table for module in model.modules() for table in (module._forward_pre_hooks, module._forward_hooks)
    ]
    before = [set(table) for table in tables]
    found: list[tuple[dict[int, Any], list[int]]] = []
    yield found
    found += [(table, [key for key in table if key not in old]) for table, old in zip(tables, before, strict=True)]


def storm_config(bounds: Bounds) -> OffloadConfig:
    """The defaults, written down."""
    window = bounds.window_bytes
    return OffloadConfig(
        min_bytes=bounds.min_bytes,
        window_bytes=window,
        prefetch_bytes=window,
        keep_last_bytes=window,
        host_bytes=bounds.host_bytes,
    )


def _compile_kind(budget: float) -> ArmKind:
    return ArmKind(lambda w, device, _: compiled.CompiledArm(w, budget, device), "none", portable=True)


KINDS: Mapping[str, ArmKind] = {
    "none": ArmKind(lambda w, _device, _bounds: PlainArm(w), "none"),
    "checkpoint": ArmKind(lambda w, _device, _bounds: CheckpointArm(w), "bare"),
    "save_on_cpu": ArmKind(lambda w, device, _: SaveOnCpuArm(w, device), "python"),
    "torchtune": ArmKind(lambda w, device, _: PeerArm(w, "torchtune", device), "python"),
    "trl": ArmKind(lambda w, device, _: PeerArm(w, "trl", device), "python"),
    **{compiled.arm_name(budget): _compile_kind(budget) for budget in compiled.BUDGETS},
    "storm": ArmKind(lambda w, _, bounds: StormArm(w, storm_config(bounds)), "storm"),
}
"""In the order of the tables. `none` comes first: the others are compared with it."""
