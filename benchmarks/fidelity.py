"""Runs `bench fidelity`, keeps its results beside this file, and puts the tables into docs/simulator.md."""

import sys
from pathlib import Path

from pamiq_storm.__main__ import main
from pamiq_storm.atomic import write_atomically
from pamiq_storm.bench import profile_table
from pamiq_storm.bench.docs import with_section
from pamiq_storm.bench.fidelity.report import markdown
from pamiq_storm.results import Results

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "simulator.md"


def run(arguments: list[str]) -> int:
    """Without arguments the whole suite runs; `--tables` only puts those of the kept results into the page."""
    kept = HERE / "results" / "fidelity.json"
    status = 0
    if arguments != ["--tables"]:
        figure = kept.with_suffix(".png")
        status = main(["bench", "fidelity", "--json", str(kept), "--plot", str(figure), *arguments])
    if status == 0:
        text = with_section(PAGE.read_text(), "profiles", profile_table.markdown())
        text = with_section(text, "fidelity", markdown(Results.read(kept)))
        write_atomically(PAGE, text.encode())
    return status


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
