"""docs/mutants.md is the table of the present seeds, each of them caught."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import mutants  # noqa: E402


def test_the_last_run_caught_each_of_them() -> None:
    """Run `make mutants` after a change of the seeds."""
    rows = [line.split(" | ") for line in (ROOT / mutants.TABLE).read_text().splitlines() if line.startswith("| ")]
    listed = {row[0].removeprefix("| "): row for row in rows[1:]}
    assert listed.keys() == {seed.name for seed in mutants.load()}
    for seed in mutants.load():
        _, stands_for, file, caught_by = listed[seed.name]
        assert stands_for == seed.stands_for
        assert seed.file.endswith(file.strip("`"))
        assert "**" not in caught_by, f"'{seed.name}' was not caught"
