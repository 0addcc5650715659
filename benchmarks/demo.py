"""Runs the demo, keeps its results beside this file and its figure in docs/, and prints the README's table."""

import shutil
import sys
import tempfile
from pathlib import Path

from pamiq_storm.__main__ import main
from pamiq_storm.bench.docs import figures_table
from pamiq_storm.results import Results

HERE = Path(__file__).resolve().parent


def run(arguments: list[str]) -> int:
    """Keeps nothing of a run that failed."""
    with tempfile.TemporaryDirectory() as folder:
        status = main(["demo", "--out", folder, *arguments])
        if status == 0:
            (HERE / "results").mkdir(exist_ok=True)
            shutil.copyfile(Path(folder, "results.json"), HERE / "results" / "demo.json")
            shutil.copyfile(Path(folder, "memory.png"), HERE.parent / "docs" / "memory.png")
            print(figures_table(Results.read(HERE / "results" / "demo.json")))
    return status


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
