"""`python -m pamiq_storm.bench.offload.worker OUT`: does the jobs that stand on its input, writes samples to a file.

A process of its own for each: the simulator changes a process for good, and on a real device every arm starts fresh.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import torch
import torch._dynamo

from pamiq_storm.bench.offload.samples import Job, Sample, job_from_json, to_json


def main() -> int:
    """Returns the exit status."""
    torch.set_num_threads(1)  # of several processes on one machine; the host's work is issuing
    gc.freeze()  # what is imported stays: looking at it again would cost more than a step
    jobs = [job_from_json(entry) for entry in json.load(sys.stdin)]
    samples = [sample for job in jobs for sample in _measure(job)]
    Path(sys.argv[1]).write_text(json.dumps(to_json(samples)))
    return 0


def _measure(job: Job) -> list[Sample]:
    # Each imports what the other's device has no use for.
    if job.machine == "virtual":
        from pamiq_storm.bench.offload.virtual import measure
    elif job.machine == "ladder":
        from pamiq_storm.bench.offload.ladder import measure
    else:
        from pamiq_storm.bench.offload.real import measure
    return measure(job)


if __name__ == "__main__":
    sys.exit(main())
