"""Timed training steps, and the bound that no schedule can beat."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pamiq_storm.bench.arms import Arm
from pamiq_storm.bench.hardware import Hardware, Link, Traffic


@dataclass(frozen=True)
class Step:
    """One forward and backward, begun and ended with an idle device."""

    loss: Tensor
    """On the CPU."""
    step_ms: float
    """Host clock, from before forward until the device is done with backward."""
    forward_ms: float
    """Device events around forward."""
    backward_ms: float
    """Device events from the end of forward to the end of backward."""
    traffic: Traffic
    late_fetches: int | None
    peak_allocated_bytes: int
    peak_reserved_bytes: int


def run_step(arm: Arm, hardware: Hardware, inputs: Tensor, targets: Tensor) -> Step:
    """Runs forward and backward of `arm`; gradients are added to those already there."""
    torch.accelerator.synchronize()
    torch.accelerator.reset_peak_memory_stats()
    late, moved = arm.late_fetches(), _moved(arm, hardware)
    events = [torch.Event(enable_timing=True) for _ in range(3)]
    start = time.perf_counter()
    events[0].record()
    loss = arm.forward(inputs, targets)
    events[1].record()
    loss.backward()
    events[2].record()
    torch.accelerator.synchronize()
    step_ms = (time.perf_counter() - start) * 1e3
    traffic = _since(moved, _moved(arm, hardware))
    return Step(
        loss=loss.detach().cpu(),
        step_ms=step_ms,
        forward_ms=events[0].elapsed_time(events[1]),
        backward_ms=events[1].elapsed_time(events[2]),
        traffic=traffic,
        late_fetches=None if late is None else (arm.late_fetches() or 0) - late,
        peak_allocated_bytes=torch.accelerator.max_memory_allocated(),
        peak_reserved_bytes=torch.accelerator.max_memory_reserved(),
    )


def release_cached_memory() -> None:
    """Empties torch's device cache, so that the next peak is the next step's own."""
    gc.collect()
    torch.accelerator.synchronize()
    torch.accelerator.empty_cache()


def lower_bound_ms(forward_ms: float, backward_ms: float, traffic: Traffic, link: Link) -> float:
    """No step that computes this long and moves these bytes is shorter, if the link can be used all the time."""
    d2h_ms, h2d_ms = traffic.d2h / link.d2h * 1e3, traffic.h2d / link.h2d * 1e3
    return max(forward_ms, d2h_ms) + max(backward_ms, h2d_ms)


def percentile(values: Sequence[float], percent: int) -> float:
    """1st to 99th percentile with linear interpolation; a single value is its own percentile."""
    if len(values) == 1:
        return values[0]
    if percent == 50:
        return statistics.median(values)
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def _moved(arm: Arm, hardware: Hardware) -> Traffic:
    """The device's own count where it has one: it sees what an arm forgets to tell."""
    return hardware.traffic() or arm.traffic()


def _since(before: Traffic, after: Traffic) -> Traffic:
    return Traffic(after.d2h - before.d2h, after.h2d - before.h2d)
