"""An offload comparison: memory, bytes and bits of each arm alone, then times with the arms interleaved."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pamiq_storm.bench.arms import Arm, Workload
from pamiq_storm.bench.bits import differing, gradients, same_bits
from pamiq_storm.bench.hardware import Hardware
from pamiq_storm.bench.measure import Step, lower_bound_ms, percentile, release_cached_memory, run_step
from pamiq_storm.bench.timeline import MemoryLine, trace_memory
from pamiq_storm.results import OffloadRow

Batch = tuple[Tensor, Tensor]
Advance = Callable[[], None]


@dataclass(frozen=True)
class Examination:
    """What one arm needs and gives, run with nothing else on the device."""

    step: Step
    pinned_bytes: int
    bit_identical: bool | None
    line: MemoryLine


@dataclass(frozen=True)
class Comparison:
    """The rows, and what they were made of."""

    rows: tuple[OffloadRow, ...]
    lines: tuple[MemoryLine, ...]
    forward_ms: float
    """C_f: median forward of the first arm."""
    backward_ms: float
    """C_b: median backward of the first arm."""
    optimizer_ms: float


def compare(
    workload: Workload,
    makers: Mapping[str, Callable[[], Arm]],
    hardware: Hardware,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    rounds: int,
    advance: Advance,
) -> Comparison:
    """Compares arms on one model. The first maker's arm is the reference for gradients and compute time.

    Peaks include gradients and the optimizer's state. `advance` is called after each of `comparison_steps` steps.
    """
    _create_state(next(iter(makers.values()))(), hardware, batch, optimizer)
    examined = _examine_all(workload, makers, hardware, batch, advance)
    arms = [make() for make in makers.values()]
    try:
        steps, optimizer_ms = _time_interleaved(arms, workload, hardware, batch, optimizer, rounds, advance)
    finally:
        for arm in arms:
            arm.close()
    plain = steps[arms[0].name]
    forward_ms = percentile([s.forward_ms for s in plain], 50)
    backward_ms = percentile([s.backward_ms for s in plain], 50)
    rows = tuple(
        _row(workload.name, arm.name, hardware, examined[arm.name], steps[arm.name], forward_ms, backward_ms)
        for arm in arms
    )
    lines = tuple(examination.line for examination in examined.values())
    return Comparison(rows, lines, forward_ms, backward_ms, percentile(optimizer_ms, 50))


def comparison_steps(arms: int, rounds: int) -> int:
    """Training steps that `compare` takes."""
    return arms * (rounds + 1) + 3 * arms


def _create_state(arm: Arm, hardware: Hardware, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
    """One whole step, after which the optimizer's state is where it will stay."""
    try:
        run_step(arm, hardware, *batch)
        optimizer.step()
    finally:
        arm.close()


def _examine_all(
    workload: Workload,
    makers: Mapping[str, Callable[[], Arm]],
    hardware: Hardware,
    batch: Batch,
    advance: Advance,
) -> dict[str, Examination]:
    examined: dict[str, Examination] = {}
    reference: dict[str, Tensor | None] | None = None
    reference_loss: Tensor | None = None
    for name, make in makers.items():
        workload.model.zero_grad()
        release_cached_memory()
        torch.accelerator.empty_host_cache()
        hardware.reset_peaks()
        arm = make()
        try:
            first = run_step(arm, hardware, *batch)
            found = gradients(workload.model)
            advance()
            # The second step is the steady one: pools are filled.
            workload.model.zero_grad()
            step = run_step(arm, hardware, *batch)
            pinned = max(hardware.peak_pinned_bytes(), arm.pinned_bytes())
            advance()
            workload.model.zero_grad()
            line = trace_memory(arm, workload.model, *batch)
            advance()
        finally:
            arm.close()
        if reference is None or reference_loss is None:
            reference, reference_loss, same = found, first.loss, None
        else:
            same = same_bits(reference_loss, first.loss) and not differing(reference, found)
        examined[name] = Examination(step, pinned, same, line)
    return examined


def _time_interleaved(
    arms: Sequence[Arm],
    workload: Workload,
    hardware: Hardware,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    rounds: int,
    advance: Advance,
) -> tuple[dict[str, list[Step]], list[float]]:
    steps: dict[str, list[Step]] = {arm.name: [] for arm in arms}
    optimizer_ms: list[float] = []
    for round_number in range(rounds + 1):
        for arm in arms:
            workload.model.zero_grad()
            step = run_step(arm, hardware, *batch)
            start = time.perf_counter()
            optimizer.step()
            torch.accelerator.synchronize()
            if round_number > 0:  # the first fills caches and pools
                steps[arm.name].append(step)
                optimizer_ms.append((time.perf_counter() - start) * 1e3)
            advance()
    return steps, optimizer_ms


def _row(
    workload: str,
    arm: str,
    hardware: Hardware,
    examined: Examination,
    steps: Sequence[Step],
    forward_ms: float,
    backward_ms: float,
) -> OffloadRow:
    times = [s.step_ms for s in steps]
    traffic = examined.step.traffic
    return OffloadRow(
        workload=workload,
        arm=arm,
        profile=hardware.profile,
        budget_bytes=None,
        step_ms=percentile(times, 50),
        step_ms_p10=percentile(times, 10),
        step_ms_p90=percentile(times, 90),
        peak_allocated_bytes=examined.step.peak_allocated_bytes,
        peak_reserved_bytes=examined.step.peak_reserved_bytes,
        d2h_bytes=traffic.d2h,
        h2d_bytes=traffic.h2d,
        pinned_bytes=examined.pinned_bytes,
        late_fetches=max((s.late_fetches for s in steps if s.late_fetches is not None), default=None),
        lower_bound_ms=lower_bound_ms(forward_ms, backward_ms, traffic, hardware.link()),
        races=None,
        bit_identical=examined.bit_identical,
    )
