"""Ways to train what does not fit, compared: memory, time, traffic and races on workloads of real size.

On the simulator every figure is computed from the program and a hardware profile, the same in every run. On a GPU the
arms take turns in fresh processes and the figures are medians.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pamiq_storm.bench.console import Console
from pamiq_storm.bench.offload import charges, claims, peers, plan, schedule
from pamiq_storm.bench.offload.plan import Selection
from pamiq_storm.bench.offload.rows import rows
from pamiq_storm.bench.offload.samples import AS_IS, Job, Sample
from pamiq_storm.bench.offload.tables import console_table
from pamiq_storm.bench.offload.workloads import recipes
from pamiq_storm.results import Results, collect

__all__ = ["Selection", "measure", "run"]

ROUNDS = 5
"""Fresh processes of each arm on a GPU."""


def run(device: str, quick: bool, console: Console, selection: Selection | None = None) -> Results:
    """Measures and says what was found.

    Raises:
        RuntimeError: the device asked for is not there, the selection names what there is not, or a process failed.
    """
    machine, chosen = _machine(device), selection or Selection()
    jobs = plan.jobs(machine, quick, chosen)
    samples = measure(jobs, quick, console, chosen.rounds)
    results = _results(machine, jobs, samples, quick)
    console.line(console_table(rows(samples), results.simulated))
    for verdict in results.facts.get("sensitivity", {}).get("verdicts", []):
        console.line(f"{verdict['held']} of {verdict['of']}: {verdict['text']}")
    return results


def measure(jobs: Sequence[Job], quick: bool, console: Console, rounds: int | None = None) -> list[Sample]:
    """Does the jobs, side by side where the clock allows it, else in turns; quick ones in one process."""
    if jobs and (jobs[0].machine == "virtual" or (quick and rounds is None)):
        with console.progress("offload", len(jobs)) as advance:
            return schedule.side_by_side(jobs, advance, processes=1 if quick else None)
    rounds = rounds or ROUNDS
    with console.progress("offload", rounds * sum(len(job.arms) for job in jobs)) as advance:
        return schedule.in_turns(jobs, rounds, advance)


def _machine(device: str) -> str:
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("no CUDA device is usable here; use --device sim or --device auto")
    return "cuda" if device != "sim" and torch.cuda.is_available() else "virtual"


def _results(machine: str, jobs: Sequence[Job], samples: Sequence[Sample], quick: bool) -> Results:
    simulated = machine != "cuda"
    known = recipes(quick)
    facts: dict[str, Any] = {
        "workloads": {job.workload: known[job.workload].says for job in jobs},
        "peers": {name: peers.version(name) for name in peers.RELEASES},
        "timelines": _timelines(samples),
    }
    if failed := [f"{s.workload}, {s.arm}" for s in samples if s.note and s.note.startswith(schedule.FAILED)]:
        facts["failed"] = failed
    if machine == "virtual":
        facts["clock"] = "virtual" + (", sizes of a test: times mean nothing" if quick else "")
        facts["charged_us"] = {name: seconds * 1e6 for name, seconds in charges.STORM.items()}
        if any(job.variants for job in jobs):  # nothing is concluded from one set of rates
            facts["sensitivity"] = claims.sensitivity(samples)
    profiles = ", ".join(dict.fromkeys(sample.profile for sample in samples))
    return collect("offload", "sim" if simulated else "cuda", simulated, profiles, rows(samples), facts)


def _timelines(samples: Sequence[Sample]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for sample in samples:
        if sample.variant == AS_IS and sample.timeline is not None:
            found.setdefault(f"{sample.workload} on {sample.profile}", {})[sample.arm] = dict(sample.timeline)
    return found
