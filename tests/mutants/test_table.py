"""docs/mutants.md is the table of the present seeds, each of them caught."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import mutants  # noqa: E402


def test_the_last_run_caught_each_of_them() -> None:
    """Run `make mutants` after a change of the seeds."""
    check_table(by_the_double=False, seeds=mutants.load())


def test_the_double_of_the_cuda_runtime_caught_those_of_order() -> None:
    """Run `tools/mutants.py --double` in the CUDA environment after a change of the seeds."""
    if mutants.DOUBLE not in (ROOT / mutants.TABLE).read_text():
        pytest.skip("tools/mutants.py --double was not run yet")
    check_table(by_the_double=True, seeds=[seed for seed in mutants.load() if seed.takes_an_order])


def check_table(by_the_double: bool, seeds: list[mutants.Mutant]) -> None:
    first, _, second = (ROOT / mutants.TABLE).read_text().partition(mutants.DOUBLE)
    lines = (second if by_the_double else first).splitlines()
    rows = [line.split(" | ") for line in lines if line.startswith("| ")]
    listed = {row[0].removeprefix("| "): row for row in rows[1:]}
    assert listed.keys() == {seed.name for seed in seeds}
    for seed in seeds:
        _, stands_for, file, caught_by = listed[seed.name]
        assert stands_for == seed.stands_for
        assert seed.file.endswith(file.strip("`"))
        assert "**" not in caught_by, f"'{seed.name}' was not caught"
