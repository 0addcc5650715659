"""`python -m tools.gpu.report FOLDER RESULTS PAGE`: from what the steps left to files that are kept."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pamiq_storm.atomic import write_atomically
from pamiq_storm.bench.drawing import PlottingError
from pamiq_storm.bench.offload import figures as offload_figures
from pamiq_storm.bench.plot import plot
from pamiq_storm.results import ArmRow, HookRow, Results, source_commit
from tools.gpu import compare, found
from tools.gpu.compare import Compared
from tools.gpu.found import Found
from tools.gpu.page import page

ROOT = Path(__file__).resolve().parents[2]
SIMULATED_PUBLISH = ROOT / "benchmarks" / "results" / "publish_sim.json"


def write(folder: Path, results: Path, to: Path) -> None:
    """Writes results, figures, a summary, and the page that shows them. Nothing of an earlier run is left beside it."""
    there = found.read(folder)
    known = {
        name: one for name in ("offload", "predicted", "hooks", "publish", "demo") if (one := getattr(there, name))
    }
    results.mkdir(parents=True, exist_ok=True)
    for old in (*results.glob("*.json"), *results.glob("*.png"), *results.glob("*.toml")):
        old.unlink()
    for name, one in known.items():
        one.write(results / f"{name}.json")
    if there.profile:
        there.profile.write(results / "profile.toml")
    drawn = _draw(known, results)
    summary = _summary(folder, there, list(known), drawn)
    write_atomically(results / "summary.json", (json.dumps(summary, indent=1, allow_nan=False) + "\n").encode())
    write_atomically(to, page(results, os.path.relpath(results, to.parent)).encode())


def compared(there: Found) -> list[Compared]:
    """All that can be compared so far."""
    all_of_it: list[Compared] = []
    if there.offload:
        predicted = there.predicted.rows if there.predicted else ()
        all_of_it += compare.arms(_arm_rows(there.offload.rows), _arm_rows(predicted))
    if there.hooks and there.profile:
        rows = [row for row in there.hooks.rows if isinstance(row, HookRow)]
        all_of_it += compare.hooks(rows, there.profile.hook_s)
    if there.publish:
        simulated = Results.read(SIMULATED_PUBLISH) if SIMULATED_PUBLISH.exists() else None
        all_of_it += compare.publish(there.publish, simulated)
    return all_of_it


def _arm_rows(rows: Any) -> list[ArmRow]:
    return [row for row in rows if isinstance(row, ArmRow)]


def _summary(folder: Path, there: Found, names: list[str], drawn: list[str]) -> dict[str, Any]:
    key = found.state_key(folder)
    return {
        "machine": there.machine,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": source_commit(),
        "sources": key.get("sources", ""),
        "steps": there.steps,
        "tests": {name: asdict(tests) for name, tests in there.tests.items()},
        "results": names,
        "figures": drawn,
        "kernels": there.kernels,
        "compared": [asdict(one) for one in compared(there)],
    }


def _draw(known: dict[str, Results], results: Path) -> list[str]:
    drawn: list[str] = []
    try:
        for name in ("hooks", "publish"):
            if name in known:
                write_atomically(results / f"{name}.png", plot(known[name]))
                drawn.append(name)
        if "offload" in known:
            write_atomically(results / "offload.png", offload_figures.step_against_peak(known["offload"]))
            drawn.append("offload")
    except PlottingError as error:
        print(f"no figures: {error}")
    return drawn


if __name__ == "__main__":
    write(*(Path(argument) for argument in sys.argv[1:4]))
