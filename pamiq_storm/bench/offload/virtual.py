"""Measures arms under the simulator's computed clock: one process, any number of profiles, every run the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from pamiq_storm import sim
from pamiq_storm.bench.offload import workloads
from pamiq_storm.bench.offload.arms import KINDS, Bounds
from pamiq_storm.bench.offload.charges import STORM
from pamiq_storm.bench.offload.device import VirtualClock
from pamiq_storm.bench.offload.occupancy import binned
from pamiq_storm.bench.offload.peers import PeerMissing
from pamiq_storm.bench.offload.samples import AS_IS, Job, Sample
from pamiq_storm.bench.offload.steps import Step, digest, hook_cost, release, train
from pamiq_storm.units import format_bytes

if TYPE_CHECKING:
    from pamiq_storm.bench.arms import Arm
    from pamiq_storm.bench.offload.workloads import Training
    from pamiq_storm.profile import Profile

WARM_UP = 2
"""Steps until pools are filled, what forward saves last is known, and what compiles is compiled."""

SCALES = (0.8, 1.0, 1.2)
ENDLESS_HOST = 1 << 44
QUICK_WINDOW = 16 << 10


def variants(quick: bool = False) -> dict[str, tuple[float, float]]:
    """Factors of the link's rates and of those of matrix products, by name: all pairs of a fifth less, as is, a fifth
    more. The profile itself comes first; a quick run tries one other."""
    pairs = sorted(itertools.product(SCALES, SCALES), key=lambda pair: pair != (1.0, 1.0))[: 2 if quick else None]
    return {_variant_name(link, matmul): (link, matmul) for link, matmul in pairs}


def measure(job: Job) -> list[Sample]:
    """All arms of the job, in its order."""
    profiles = [sim.load_profile(name) for name in job.profiles]
    instrument = VirtualClock(profiles[0], "real" if job.quick else "ghost")
    sim.charge(STORM)
    return [sample for arm in job.arms for sample in _Runner(job, arm, instrument).samples(profiles)]


class _Runner:
    """One arm under all profiles."""

    def __init__(self, job: Job, arm: str, instrument: VirtualClock) -> None:
        self._job, self._name, self._instrument = job, arm, instrument
        self._kind = KINDS[arm]
        self._built: tuple[Arm, Training] | None = None

    def samples(self, profiles: Sequence[Profile]) -> Iterator[Sample]:
        for profile in profiles:
            self._use(profile)
            try:
                arm, training = self._build(profile)
            except PeerMissing as missing:
                yield Sample(self._job.workload, profile.name, AS_IS, self._name, note=str(missing))
                continue
            first, *others = self._under(profile, arm, training)
            yield self._held_to_memory(first, profile, arm, training)
            yield from others
            del arm, training
        self._drop()

    def _use(self, profile: Profile) -> None:
        # Pinned memory has no limit here: who needs too much of it is told by the column.
        self._instrument.use(profile.replace(host_memory_bytes=0))
        self._instrument.limit_memory(None)

    def _build(self, profile: Profile) -> tuple[Arm, Training]:
        if self._built is not None and self._kind.portable:
            return self._built
        self._drop()
        training = workloads.make(self._job.workload, self._job.quick, self._instrument.device)
        bounds = Bounds.of(profile.memory_bytes, ENDLESS_HOST)
        if self._job.quick:
            bounds = Bounds(QUICK_WINDOW, 1 << 30, min_bytes=1024)
        self._built = (self._kind.make(training.workload, self._instrument.device, bounds), training)
        return self._built

    def _drop(self) -> None:
        if self._built is not None:
            self._built[0].close()
        self._built = None
        release()

    def _under(self, profile: Profile, arm: Arm, training: Training) -> Iterator[Sample]:
        bits = digest(arm, training) if self._job.quick else None
        for name, (link, matmul) in variants(self._job.quick).items():
            if name != AS_IS and not self._job.variants:
                continue
            scaled = profile.scaled(link=link, matmul=matmul)
            self._use(scaled)
            step, timeline = self._step(profile, arm, training, name == AS_IS)
            yield Sample(
                self._job.workload, profile.name, name, self._name, (step,), self._instrument.link(),
                digest=bits, timeline=timeline,
            )  # fmt: skip

    def _step(
        self, profile: Profile, arm: Arm, training: Training, anew: bool
    ) -> tuple[Step, dict[str, object] | None]:
        """The step after warming up: from empty caches, or from where the last one left off."""
        cost = hook_cost(self._kind.hooks, profile.hook_s)
        self._instrument.detect_races(anew)  # the same work at other rates has the same races
        if anew:
            release(training)
        for _ in range(WARM_UP if anew else 1):
            train(arm, training, self._instrument, cost)
        if not (anew and profile.name in self._job.timelines):
            return train(arm, training, self._instrument, cost), None
        with self._instrument.timeline() as timeline:
            begin = sim.now_ns()
            step = train(arm, training, self._instrument, cost)
        return step, binned(timeline, begin, sim.now_ns())

    def _held_to_memory(self, free: Sample, profile: Profile, arm: Arm, training: Training) -> Sample:
        """The same within the device's memory if it fits, else with a note of what is missing."""
        needed = free.steps[0].peak_allocated_bytes
        if needed <= profile.memory_bytes:
            self._use(profile)
            self._instrument.limit_memory(profile.memory_bytes)
            try:
                step, timeline = self._step(profile, arm, training, anew=True)
                return replace(free, steps=(step,), fits=True, timeline=timeline)
            except torch.OutOfMemoryError:
                needed = free.steps[0].peak_reserved_bytes
        note = f"does not fit: needs {format_bytes(needed)} of {format_bytes(profile.memory_bytes)}"
        return replace(free, fits=False, needs_bytes=needed, note=note)


def _variant_name(link: float, matmul: float) -> str:
    changed = [f"{what} {scale - 1:+.0%}" for what, scale in (("link", link), ("matmul", matmul)) if scale != 1]
    return ", ".join(changed) or AS_IS
