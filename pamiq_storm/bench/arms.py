"""The ways to train that are compared: each runs the same model and the same loss."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pamiq_storm import OffloadConfig, offload
from pamiq_storm.bench.hardware import Traffic


@dataclass(frozen=True)
class Workload:
    """A model on a device, the blocks that checkpointing recomputes, and how to get a loss from inputs."""

    name: str
    model: nn.Module
    blocks: Sequence[nn.Module]
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]


class Arm(Protocol):
    """One way to run forward so that backward needs less device memory."""

    name: str

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Returns the loss, ready for `backward()`."""
        ...

    def late_fetches(self) -> int | None:
        """Tensors asked for before they were on their way back, since the start; None without offload."""
        ...

    def traffic(self) -> Traffic:
        """Bytes moved since the start, by the arm's own account."""
        ...

    def pinned_bytes(self) -> int:
        """Page-locked memory that the arm holds now. It may be its own, of which torch knows nothing."""
        ...

    def close(self) -> None:
        """Releases what the arm holds."""
        ...


class PlainArm:
    """Torch as it is: all saved tensors stay on the device."""

    name = "none"

    def __init__(self, workload: Workload) -> None:
        self._workload = workload

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        return self._workload.loss(self._workload.model, inputs, targets)

    def late_fetches(self) -> int | None:
        return None

    def traffic(self) -> Traffic:
        return Traffic(0, 0)

    def pinned_bytes(self) -> int:
        return 0

    def close(self) -> None:
        return None


class SaveOnCpuArm(PlainArm):
    """`torch.autograd.graph.save_on_cpu(pin_memory=True)`."""

    name = "save_on_cpu"

    def __init__(self, workload: Workload, device: torch.device) -> None:
        super().__init__(workload)
        self._device_type = device.type
        self._moved = [0, 0]

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        hooks = torch.autograd.graph.save_on_cpu(pin_memory=True, device_type=self._device_type)
        pack, unpack = hooks.pack_hook, hooks.unpack_hook

        def counted_pack(tensor: Tensor) -> Any:
            self._moved[0] += tensor.nbytes
            return pack(tensor)

        def counted_unpack(packed: Any) -> Tensor:
            tensor = unpack(packed)
            self._moved[1] += tensor.nbytes
            return tensor

        hooks.pack_hook, hooks.unpack_hook = counted_pack, counted_unpack
        with hooks:
            return super().forward(inputs, targets)

    def traffic(self) -> Traffic:
        return Traffic(*self._moved)


class CheckpointArm(PlainArm):
    """`torch.utils.checkpoint`, non-reentrant, once per block."""

    name = "checkpoint"

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        with _recomputed(self._workload.blocks):
            return super().forward(inputs, targets)


class StormArm(PlainArm):
    """`pamiq_storm.offload` around the whole forward."""

    name = "storm"

    def __init__(self, workload: Workload, config: OffloadConfig) -> None:
        super().__init__(workload)
        self.storm = offload(workload.model, config)

    def forward(self, inputs: Tensor, targets: Tensor) -> Tensor:
        with self.storm:
            return super().forward(inputs, targets)

    def late_fetches(self) -> int | None:
        return self.storm.stats().late_fetches

    def traffic(self) -> Traffic:
        stats = self.storm.stats()
        return Traffic(stats.offloaded_bytes, stats.fetched_bytes)

    def pinned_bytes(self) -> int:
        return self.storm.stats().pinned_bytes

    def close(self) -> None:
        self.storm.close()


def standard_arms(workload: Workload, device: torch.device, config: OffloadConfig) -> dict[str, Callable[[], Arm]]:
    """Makers of the arms by name. No offload comes first: the others are compared with it."""
    return {
        PlainArm.name: lambda: PlainArm(workload),
        SaveOnCpuArm.name: lambda: SaveOnCpuArm(workload, device),
        CheckpointArm.name: lambda: CheckpointArm(workload),
        StormArm.name: lambda: StormArm(workload, config),
    }


@contextmanager
def _recomputed(blocks: Sequence[nn.Module]) -> Generator[None]:
    # The model stays unaware: an attribute of the instance hides the method for the time of this forward.
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward
