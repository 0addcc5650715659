"""The comparison as tables: aligned for a terminal, Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pamiq_storm.bench.console import table
from pamiq_storm.results import ArmRow

GB = 1e9
LABEL = "simulated"

Cell = Callable[[ArmRow], str]


def _number(value: float | None, format_: str, unit: float = 1) -> str:
    return "-" if value is None else format(value / unit, format_)


def _fits(row: ArmRow) -> str:
    return {None: "-", True: "yes", False: "no"}[row.fits]


COLUMNS: dict[str, Cell] = {
    "arm": lambda row: row.arm,
    "step ms": lambda row: _number(row.step_ms, ".1f"),
    "of none": lambda row: _number(row.ratio_to_none, ".2f"),
    "of its bound": lambda row: _number(row.ratio_to_bound, ".2f"),
    "peak GB": lambda row: _number(row.peak_allocated_bytes, ".2f", GB),
    "reserved GB": lambda row: _number(row.peak_reserved_bytes, ".2f", GB),
    "D2H GB": lambda row: _number(row.d2h_bytes, ".2f", GB),
    "H2D GB": lambda row: _number(row.h2d_bytes, ".2f", GB),
    "pinned GB": lambda row: _number(row.pinned_bytes, ".2f", GB),
    "fits": _fits,
    "races": lambda row: _number(row.races, ".0f"),
}


def cells(rows: Sequence[ArmRow]) -> dict[tuple[str, str], list[ArmRow]]:
    """The rows of each workload and profile."""
    found: dict[tuple[str, str], list[ArmRow]] = {}
    for row in rows:
        found.setdefault((row.workload, row.profile), []).append(row)
    return found


def console_table(rows: Sequence[ArmRow], simulated: bool) -> str:
    """All cells, one below the other."""
    parts: list[str] = []
    for (workload, profile), there in cells(rows).items():
        parts.append(f"{workload} on {profile}{f' ({LABEL})' if simulated else ''}")
        lines = [[cell(row) for cell in COLUMNS.values()] for row in there if row.step_ms is not None]
        parts.append(table(list(COLUMNS), lines))
        parts += [f"{row.arm}: {row.note}" for row in there if row.note]
        parts.append("")
    return "\n".join(parts)


def markdown(rows: Sequence[ArmRow], simulated: bool) -> str:
    """All cells as Markdown tables under their headings."""
    label = f", {LABEL}" if simulated else ""
    parts: list[str] = []
    for (workload, profile), there in cells(rows).items():
        parts += [f"### {workload} on {profile}{label}", ""]
        parts.append("| " + " | ".join(COLUMNS) + " |")
        parts.append("|---" + "|--:" * (len(COLUMNS) - 1) + "|")
        parts += ["| " + " | ".join(cell(row) for cell in COLUMNS.values()) + " |" for row in there]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"
