"""Device memory over one training step, placed in the device's own time.

The host runs ahead of the device, so memory against the host's clock would show a leap and a plateau. Here each sample
takes the allocator's count when the host issues the work at one point of the model, and a device event that tells when
the device got there: with stream-ordered memory that is what the device holds at that time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pamiq_storm.bench.arms import Arm


@dataclass(frozen=True)
class MemoryLine:
    """Samples in the order of the device's time."""

    arm: str
    turn_ms: float
    """When backward begins."""
    time_ms: tuple[float, ...]
    allocated_bytes: tuple[int, ...]


def trace_memory(arm: Arm, model: nn.Module, inputs: Tensor, targets: Tensor) -> MemoryLine:
    """Runs one step of `arm` and samples before and after each leaf module, in forward and in backward."""
    samples: list[tuple[torch.Event, int]] = []

    def sample() -> None:
        event = torch.Event(enable_timing=True)
        event.record()
        samples.append((event, torch.accelerator.memory_allocated()))

    torch.accelerator.synchronize()
    handles = _watch(model, sample)
    try:
        sample()
        loss = arm.forward(inputs, targets)
        sample()
        turn = samples[-1][0]
        loss.backward()
        sample()
    finally:
        for handle in handles:
            handle.remove()
    torch.accelerator.synchronize()
    begin = samples[0][0]
    points = sorted((begin.elapsed_time(event), size) for event, size in samples)
    return MemoryLine(
        arm=arm.name,
        turn_ms=begin.elapsed_time(turn),
        time_ms=tuple(time for time, _ in points),
        allocated_bytes=tuple(size for _, size in points),
    )


def _watch(model: nn.Module, sample: Callable[[], None]) -> list[Any]:
    def on_gradient(_gradient: Tensor) -> None:
        sample()

    def after(_module: nn.Module, _inputs: Any, output: Any) -> None:
        sample()
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(on_gradient)

    def before(_module: nn.Module, _inputs: Any) -> None:
        sample()

    handles: list[Any] = []
    for module in model.modules():
        if not any(True for _ in module.children()):
            handles += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    return handles
