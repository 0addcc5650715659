"""docs/semantics.md: what of autograd's semantics works with offload, and what is refused by name.

Without arguments it runs tests/semantics and writes the table from what the tests did. ``--check`` only collects the
tests and says whether the table has their rows, which is enough inside a test run: there each of them passes or fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = "tests/semantics"
TABLE = ROOT / "docs" / "semantics.md"
OUTCOMES = {"works": "works", "refused": "refused by name"}

HEADER = """\
# Autograd's semantics under offload

Made by `tools/semantics_table.py` from a run of `tests/semantics`; do not edit. *Works*: the named test passed, and
losses, gradients and parameters are those of a run without offload, bit for bit, where the combination computes any.
*Refused by name*: the test saw an error that names the combination. There is no third state: what failed has no row,
and then the test that compares this table with the tests fails too.

"""


class Row(NamedTuple):
    area: str
    combination: str
    outcome: str
    test: str


class Recorder:
    """A pytest plugin: the rows of what was collected, and what each test did when it ran."""

    def __init__(self) -> None:
        self.collected: dict[str, Row] = {}
        self.refused: set[str] = set()
        self.skipped: dict[str, str] = {}
        self.failed: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.take(session.items)

    def take(self, items: Iterable[pytest.Item]) -> None:
        """Note the row of each test that has one."""
        for item in items:
            mark = item.get_closest_marker("semantics")
            if mark is None or not isinstance(item, pytest.Function):
                continue
            values = item.callspec.params if hasattr(item, "callspec") else {}
            area, combination = mark.args
            outcome = OUTCOMES[mark.kwargs.get("outcome", "works")]
            test = item.nodeid.partition("[")[0].removeprefix("tests/")
            self.collected[item.nodeid] = Row(area, combination.format(**values), outcome, test)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
        if report.skipped:
            self.skipped[report.nodeid] = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        if any(name == "refusal" for name, _ in report.user_properties):
            self.refused.add(report.nodeid)

    def ran(self) -> list[Row]:
        """The rows of the tests that passed, with the outcome that was seen."""
        return [
            row._replace(outcome=OUTCOMES["refused" if nodeid in self.refused else "works"])
            for nodeid, row in self.collected.items()
            if nodeid not in self.failed and nodeid not in self.skipped
        ]

    def left_out(self) -> list[tuple[Row, str]]:
        return [(self.collected[n], reason) for n, reason in self.skipped.items() if n in self.collected]


def collect() -> Recorder:
    return _run("--collect-only")


def _run(*options: str) -> Recorder:
    recorder = Recorder()
    own = f"--ignore={ROOT / TESTS / 'test_table.py'}"  # it compares with the table that is being made
    code = pytest.main(["-q", "-p", "no:cacheprovider", own, *options, str(ROOT / TESTS)], plugins=[recorder])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"pytest ended with {code}")
    return recorder


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _line(row: Row) -> str:
    return f"| {_cell(row.area)} | {_cell(row.combination)} | {row.outcome} | `{row.test}` |"


def render(rows: list[Row], left_out: list[tuple[Row, str]]) -> str:
    """The page. Tests of one combination make one row each; equal rows (by other parameters) are one."""
    areas = list(dict.fromkeys(row.area for row in rows))
    ordered = sorted(dict.fromkeys(rows), key=lambda row: areas.index(row.area))
    refused = sum(row.outcome == OUTCOMES["refused"] for row in ordered)
    text = HEADER + f"{len(ordered)} combinations: {len(ordered) - refused} work, {refused} are refused by name.\n\n"
    text += "| area | combination | works / refused by name | test |\n|---|---|---|---|\n"
    text += "".join(_line(row) + "\n" for row in ordered)
    if left_out:
        text += "\nStated by a test too, which this run had not the device for:\n\n"
        text += "".join(f"* {row.area}, {row.combination}: {reason}\n" for row, reason in left_out)
    return text


def differences(recorder: Recorder, text: str) -> list[str]:
    """Rows that the tests state and the page lacks, and rows of the page that no test states."""
    stated = set(recorder.collected.values())
    lines = {_line(row): row for row in stated}
    shown = {line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| area ")}
    absent = {line for line in text.splitlines() if line.startswith("* ")}
    missing = [
        line
        for line, row in lines.items()
        if line not in shown and not any(a.startswith(f"* {row.area}, {row.combination}: ") for a in absent)
    ]
    return [f"not in the table: {line}" for line in missing] + [f"no test: {line}" for line in shown - set(lines)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the table with the tests, without running them")
    if parser.parse_args().check:
        wrong = differences(collect(), TABLE.read_text())
        print("\n".join(wrong) or "docs/semantics.md has the row of every test")
        return bool(wrong)
    recorder = _run()
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(render(recorder.ran(), recorder.left_out()))
    print(f"wrote {TABLE.relative_to(ROOT)}")
    if failed := sorted(recorder.failed & set(recorder.collected)):
        print("these failed and have no row:\n" + "\n".join(failed))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
