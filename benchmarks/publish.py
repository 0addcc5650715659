"""Runs `bench publish` and keeps the results of each device beside this file.

`--device sim` adds the simulated device. `--samples N` makes N inferences of each arm at 100 Hz: 20,000 take ten
minutes for each implementation.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from pamiq_storm.atomic import write_atomically
from pamiq_storm.bench.console import Console
from pamiq_storm.bench.plot import plot
from pamiq_storm.bench.publish import run_parts
from pamiq_storm.bench.publish.setting import FULL, QUICK

RESULTS = Path(__file__).parent / "results"


def run(arguments: list[str]) -> int:
    """One file and one figure for each device, `publish.*` for the CPU: what is simulated stays by itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", choices=["auto", "cuda", "sim"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--samples", type=int, help="inferences of each arm at 100 Hz")
    parser.add_argument("--device-only", action="store_true", help="not on the CPU besides")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    if options.samples:
        plan = replace(plan, samples=max(1, -(-options.samples // plan.pairs)))
    for results in run_parts(options.device, plan, Console(), with_cpu=not options.device_only):
        name = "publish" if results.device == "cpu" else f"publish_{results.device}"
        results.write(options.out / f"{name}.json")
        write_atomically(options.out / f"{name}.png", plot(results))
    return 0


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
