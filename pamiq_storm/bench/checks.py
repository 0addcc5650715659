"""Statements about a run: what was asked, what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pamiq_storm.bench.console import table


@dataclass(frozen=True)
class Check:
    """One statement about the run."""

    name: str
    value: float
    limit: float
    held: bool


def at_most(name: str, value: float, limit: float) -> Check:
    """`name` ends with the value's upper limit."""
    return Check(f"{name} <=", value, limit, value <= limit)


def checks_table(checks: Sequence[Check]) -> str:
    """Each target with what was found."""
    cells = [[c.name, f"{c.limit:.2f}", f"{c.value:.2f}", "held" if c.held else "missed"] for c in checks]
    return table(["target", "limit", "found", ""], cells)
