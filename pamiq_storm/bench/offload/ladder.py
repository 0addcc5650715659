"""From the settings of the earlier figures to those of the benchmark, one change at a time.

What a step of the ladder changes in a ratio is what that change explains.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import torch

from pamiq_storm import sim
from pamiq_storm.bench.offload import workloads
from pamiq_storm.bench.offload.arms import KINDS, Bounds
from pamiq_storm.bench.offload.charges import FREE, STORM
from pamiq_storm.bench.offload.device import VirtualClock
from pamiq_storm.bench.offload.earlier import Earlier
from pamiq_storm.bench.offload.peers import PeerMissing
from pamiq_storm.bench.offload.rows import PLAIN, rows
from pamiq_storm.bench.offload.samples import Job, Sample
from pamiq_storm.bench.offload.steps import hook_cost, release, train
from pamiq_storm.bench.offload.virtual import ENDLESS_HOST, WARM_UP
from pamiq_storm.profile import Profile
from pamiq_storm.results import ArmRow

THEN, RATES, HOOKS = "settings of then", "rates of the profile", "hooks charged"
RUNGS = (THEN, RATES, HOOKS)
GB = 1e9
ARMS = ("none", "checkpoint", "save_on_cpu", "torchtune", "trl", "storm")


def jobs(earlier: Earlier) -> list[Job]:
    """One for each workload of the earlier table."""
    profiles: dict[str, list[str]] = {}
    for row in earlier.rows:
        profiles.setdefault(row.workload, []).append(row.profile)
    numbers = json.dumps({name: dict(values) for name, values in earlier.numbers.items()})
    return [Job(name, tuple(there), ARMS, "ladder", quick=False, note=numbers) for name, there in profiles.items()]


def measure(job: Job) -> list[Sample]:
    """All rungs of all arms."""
    profiles = [sim.load_profile(name) for name in job.profiles]
    then: Mapping[str, Mapping[str, float]] = json.loads(job.note)
    instrument = VirtualClock(profiles[0], "ghost")
    instrument.detect_races(False)
    return [
        sample
        for arm in job.arms
        for profile in profiles
        for sample in _climb(job.workload, arm, profile, profile.replace(**then[profile.name]), instrument)
    ]


def _climb(workload: str, name: str, profile: Profile, then: Profile, instrument: VirtualClock) -> list[Sample]:
    kind, samples = KINDS[name], list[Sample]()
    training = workloads.build(workload, workloads.BARE[workload], instrument.device)
    try:
        arm = kind.make(training.workload, instrument.device, Bounds.of(profile.memory_bytes, ENDLESS_HOST))
    except PeerMissing as missing:
        return [Sample(workload, profile.name, rung, name, note=str(missing)) for rung in RUNGS]
    for rung in RUNGS:
        instrument.use((then if rung == THEN else profile).replace(host_memory_bytes=0))
        instrument.limit_memory(None)
        sim.charge(STORM if rung == HOOKS else {})
        cost = hook_cost(kind.hooks, profile.hook_s) if rung == HOOKS else FREE
        for _ in range(WARM_UP):
            train(arm, training, instrument, cost)
        step = train(arm, training, instrument, cost)
        samples.append(Sample(workload, profile.name, rung, name, (step,), instrument.link()))
    arm.close()
    del arm, training
    release()
    torch.accelerator.empty_host_cache()
    return samples


def climbed(
    ladder: Sequence[Sample], benchmark: Sequence[ArmRow], earlier: Earlier
) -> dict[str, dict[str, list[float]]]:
    """For each cell of the earlier table and each arm the figure of then, of each rung, and of the benchmark.

    For no offload that is its time in ms, for the others the ratio to it. Arms that were not measured are left out.
    """
    rungs = [{(r.workload, r.profile, r.arm): r for r in found} for found in (*_rungs(ladder), benchmark)]
    result: dict[str, dict[str, list[float]]] = {}
    for row in earlier.rows:
        there = result.setdefault(f"{row.workload} on {row.profile}", {})
        for arm in ARMS:
            found = [rung.get((row.workload, row.profile, arm)) for rung in rungs]
            values = [_figure(one) for one in found]
            if None not in values:
                there[arm] = [row.ratio.get(arm, row.none_ms), *(value for value in values if value is not None)]
    return result


def remembered(ladder: Sequence[Sample], earlier: Earlier) -> dict[str, dict[str, list[float | None]]]:
    """For each workload and arm, in GB: peak then and here, bytes to the host then and here, in the settings of then.

    Of the first profile: these follow from the program, but for an arm whose bounds follow from the device's memory.
    """
    found: dict[tuple[str, str], ArmRow] = {}
    for row in rows(ladder, THEN):
        found.setdefault((row.workload, row.arm), row)
    result: dict[str, dict[str, list[float | None]]] = {}
    for was in earlier.memory:
        for arm, peak_gb in was.peak_gb.items():
            here = found.get((was.workload, arm))
            if here is not None and here.peak_allocated_bytes is not None and here.d2h_bytes is not None:
                values = [peak_gb, here.peak_allocated_bytes / GB, was.d2h_gb.get(arm), here.d2h_bytes / GB]
                result.setdefault(was.workload, {})[arm] = values
    return result


def _rungs(ladder: Sequence[Sample]) -> list[list[ArmRow]]:
    return [rows(ladder, rung) for rung in RUNGS]


def _figure(row: ArmRow | None) -> float | None:
    if row is None:
        return None
    return row.step_ms if row.arm == PLAIN else row.ratio_to_none
