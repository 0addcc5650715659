"""Gives jobs to processes and collects what they found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from pamiq_storm.bench.offload.samples import AS_IS, Job, Sample, from_json

Advance = Callable[[], None]

FAILED = "failed: "
"""How the note of an arm begins whose process failed."""


def side_by_side(jobs: Sequence[Job], advance: Advance, processes: int | None = None) -> list[Sample]:
    """Runs jobs whose figures do not depend on what else the machine does. Samples come in the order of the jobs.

    Each has a process of its own, or with `processes=1` all share one: quick jobs take less time than a start.
    """

    def one(jobs: Sequence[Job]) -> list[Sample]:
        samples = run(jobs)
        for _ in jobs:
            advance()
        return samples

    groups = [jobs] if processes == 1 else [[job] for job in jobs]
    with ThreadPoolExecutor(processes or os.cpu_count() or 1) as threads:
        found = list(threads.map(one, groups))
    return [sample for samples in found for sample in samples]


def in_turns(jobs: Sequence[Job], rounds: int, advance: Advance) -> list[Sample]:
    """Each arm of each job in a fresh process, A B C A B C: what the machine does over time meets them all alike.

    The steps of all rounds become one sample. An arm whose process fails has a note that says so, and the others go on.

    Raises:
        RuntimeError: all failed.
    """
    merged: dict[tuple[str, str], Sample] = {}
    for job in jobs:
        for _ in range(rounds):
            for arm in job.arms:
                sample = _alone(replace(job, arms=(arm,)))
                known = merged.get((job.workload, arm))
                merged[job.workload, arm] = _joined(known, sample) if known else sample
                advance()
    return _with_profile(list(merged.values()))


def _alone(job: Job) -> Sample:
    """The one arm of a job, in a process of its own."""
    try:
        (sample,) = run([job])
    except RuntimeError as error:
        return Sample(job.workload, "", AS_IS, job.arms[0], note=f"{FAILED}{error}")
    return sample


def _with_profile(samples: list[Sample]) -> list[Sample]:
    """A process that failed has not told on which device."""
    there = [sample.profile for sample in samples if sample.profile]
    if samples and not there:
        raise RuntimeError("; ".join(str(sample.note) for sample in samples))
    return [sample if sample.profile else replace(sample, profile=there[0]) for sample in samples]


def run(jobs: Sequence[Job]) -> list[Sample]:
    """Does jobs in a fresh process.

    Raises:
        RuntimeError: the process failed; the message ends with what it said last.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "samples.json"
        command = [sys.executable, "-m", "pamiq_storm.bench.offload.worker", str(out)]
        done = subprocess.run(command, input=json.dumps([asdict(job) for job in jobs]), capture_output=True, text=True)
        if done.returncode != 0:
            last = " | ".join(done.stderr.strip().splitlines()[-3:])
            raise RuntimeError(f"measuring {', '.join(job.workload for job in jobs)} failed: {last}")
        return from_json(json.loads(out.read_text()))


def _joined(known: Sample, new: Sample) -> Sample:
    if not (known.steps and new.steps):
        return new if not new.steps else known  # what went wrong once is told
    if known.digest != new.digest:
        return replace(known, steps=known.steps + new.steps, note="the bits differ from process to process")
    return replace(known, steps=known.steps + new.steps)
