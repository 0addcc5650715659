"""Measures one arm on a device with a clock of its own: what a fresh process does in its turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pamiq_storm.bench.arms import Arm
from pamiq_storm.bench.bits import deterministic
from pamiq_storm.bench.hardware import CudaHardware, Link, SimulatedHardware, Traffic
from pamiq_storm.bench.offload import workloads
from pamiq_storm.bench.offload.arms import KINDS, Bounds
from pamiq_storm.bench.offload.charges import FREE
from pamiq_storm.bench.offload.compiled import CompiledArm
from pamiq_storm.bench.offload.device import HostClock
from pamiq_storm.bench.offload.peers import PeerMissing
from pamiq_storm.bench.offload.samples import AS_IS, Job, Sample
from pamiq_storm.bench.offload.steps import Step, digest, release, train
from pamiq_storm.bench.offload.workloads import Training

WARM_UP, MEASURED = 3, 5
QUICK_WARM_UP, QUICK_MEASURED = 1, 2
LEAST, LONGEST_S = 2, 10.0
"""Where steps take seconds, fewer do: the first makes plans, the second is the first to go by them."""
THREADS_LINK = Link(2e9, 2e9)


class CopyCounter(TorchDispatchMode):
    """Bytes that torch's own operations copy between host and device inside, in forward and in backward.

    Ours copies below torch's dispatcher and tells by itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.d2h = self.h2d = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.copy_.default:
            self._count(args[1], args[0])
        elif func is torch.ops.aten._to_copy.default:
            self._count(args[0], result)
        return result

    def _count(self, source: torch.Tensor, target: torch.Tensor) -> None:
        if target.device.type == "cpu" != source.device.type:
            self.d2h += target.nbytes
        elif source.device.type == "cpu" != target.device.type:
            self.h2d += target.nbytes


def measure(job: Job) -> list[Sample]:
    """The job's arms, one after the other."""
    hardware = CudaHardware() if job.machine == "cuda" else SimulatedHardware(THREADS_LINK)
    instrument = HostClock(hardware)
    return [_measure(job, arm, instrument, hardware.profile) for arm in job.arms]


def _measure(job: Job, name: str, instrument: HostClock, profile: str) -> Sample:
    kind, found = KINDS[name], Sample(job.workload, profile, AS_IS, name)
    try:
        training = workloads.make(job.workload, job.quick, instrument.device)
        bounds = Bounds.of(torch.accelerator.get_memory_info()[1], None)
        if job.quick:
            bounds = Bounds(16 << 10, 1 << 30, min_bytes=1024)
        arm = kind.make(training.workload, instrument.device, bounds)
        try:
            return _steps(job, arm, training, instrument, found)
        finally:
            arm.close()
            release(training)  # the next arm's peaks are its own
    except PeerMissing as missing:
        return Sample(job.workload, profile, AS_IS, name, note=str(missing))
    except torch.OutOfMemoryError as error:
        return Sample(
            job.workload, profile, AS_IS, name, fits=False, note=f"does not fit: {str(error).splitlines()[0]}"
        )


def _steps(job: Job, arm: Arm, training: Training, instrument: HostClock, found: Sample) -> Sample:
    warm_up, measured = (QUICK_WARM_UP, QUICK_MEASURED) if job.quick else (WARM_UP, MEASURED)
    bits = _bits(arm, training)
    _repeated(warm_up, lambda: train(arm, training, instrument, FREE))
    steps = _repeated(measured, lambda: train(arm, training, instrument, FREE))
    pinned = arm.pinned_bytes()
    steps = [replace(step, peak_pinned_bytes=max(step.peak_pinned_bytes, pinned)) for step in steps]
    if not instrument.counts_traffic:
        moved = _counted(arm, training, instrument)
        steps = [replace(step, traffic=moved) for step in steps]
    return replace(found, steps=tuple(steps), link=instrument.link(), fits=True, digest=bits)


def _repeated(times: int, step: Callable[[], Step]) -> list[Step]:
    """So many steps, or as many as `LONGEST_S` holds if they are long."""
    steps, begin = [step()], time.perf_counter()
    while len(steps) < times and (len(steps) < LEAST or time.perf_counter() - begin < LONGEST_S):
        steps.append(step())
    return steps


def _bits(arm: Arm, training: Training) -> str | None:
    """None for what is compiled: it computes the same by other operations, in other bits."""
    if isinstance(arm, CompiledArm):
        return None
    with deterministic():
        return digest(arm, training)


def _counted(arm: Arm, training: Training, instrument: HostClock) -> Traffic:
    """Traffic of one more step, which is not timed.

    Where no hooks move anything there is none. (Watched, what is compiled would run as it was before.)
    """
    if KINDS[arm.name].hooks in ("none", "bare"):
        return Traffic(0, 0)
    before, counter = arm.traffic(), CopyCounter()
    with counter:
        train(arm, training, instrument, FREE)
    after = arm.traffic()
    if KINDS[arm.name].hooks == "storm":
        return Traffic(after.d2h - before.d2h, after.h2d - before.h2d)
    return Traffic(counter.d2h, counter.h2d)
