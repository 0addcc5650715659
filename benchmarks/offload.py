"""Runs `bench offload`, keeps its results beside this file and writes the generated parts of its page.

On the simulator it also goes from the settings of earlier figures to those of the benchmark, one change at a time.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from pamiq_storm.atomic import write_atomically
from pamiq_storm.bench import offload
from pamiq_storm.bench.console import Console
from pamiq_storm.bench.offload import ladder, page, schedule
from pamiq_storm.bench.offload.earlier import Earlier
from pamiq_storm.bench.offload.figures import FIGURES
from pamiq_storm.results import ArmRow, Results

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
PAGE = HERE.parent / "docs" / "offload-benchmark.md"


def run(arguments: list[str]) -> int:
    """A device of its own clock gets files of its own: what is simulated stays by itself."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto", choices=["auto", "cuda", "sim"])
    options = parser.parse_args(arguments)
    console = Console()
    results = offload.run(options.device, quick=False, console=console)
    if results.simulated:
        results = with_ladder(results, console)
    keep(results, "offload" if results.simulated else f"offload_{results.device}")
    if results.simulated:
        write_atomically(PAGE, page.fill(PAGE.read_text(), page.parts(results)).encode())
    return 0


def with_ladder(results: Results, console: Console) -> Results:
    """The results and what leads to them from the earlier figures."""
    earlier = Earlier.read(HERE / "offload_earlier.json")
    jobs = ladder.jobs(earlier)
    with console.progress("earlier settings", len(jobs)) as advance:
        samples = schedule.side_by_side(jobs, advance)
    rows = [row for row in results.rows if isinstance(row, ArmRow)]
    then = {"ladder": ladder.climbed(samples, rows, earlier), "memory_then": ladder.remembered(samples, earlier)}
    return replace(results, facts={**results.facts, **then})


def keep(results: Results, name: str) -> None:
    """The file and its figures."""
    results.write(RESULTS / f"{name}.json")
    for suffix, draw in FIGURES.items():
        write_atomically(RESULTS / f"{name}{suffix}.png", draw(results))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
