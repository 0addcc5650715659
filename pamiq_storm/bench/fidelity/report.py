"""How a prediction is judged, and the tables for people."""

from __future__ import annotations

from collections.abc import Sequence

from pamiq_storm.bench.console import table
from pamiq_storm.results import FidelityRow, Results

RELATIVE, POINTS = 0.25, 0.03
"""Within a quarter of the published overhead, or within three points."""

HEADER = ("setting", "method", "over", "published", "predicted", "at +-20 %", "points off", "verdict")


def within(published: float, predicted: float) -> bool:
    """Whether a prediction counts as met."""
    return abs(predicted - published) <= max(POINTS, RELATIVE * abs(published))


def table_of(rows: Sequence[FidelityRow]) -> str:
    """For a terminal."""
    return table(HEADER, [_cells(row) for row in rows]) + f"\n{summary(rows)}"


def markdown(results: Results) -> str:
    """For the documentation: the rows, and what was assumed for each setting."""
    rows = [row for row in results.rows if isinstance(row, FidelityRow)]
    lines = [f"| {' | '.join(('simulated: ' + HEADER[0], *HEADER[1:]))} |", "|---|---|---|" + "--:|" * 4 + "---|"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join([*lines, "", summary(rows), "", *_settings(results)])


def summary(rows: Sequence[FidelityRow]) -> str:
    """How many were met, and how many of those were not small anyway."""
    held_out = [row for row in rows if not row.fitted]
    met = [row for row in held_out if row.within]
    large = [row for row in held_out if abs(row.published) > POINTS / RELATIVE]
    rule = f"within {RELATIVE:.0%} or {POINTS * 100:.0f} points"
    return (
        f"{len(met)} of {len(held_out)} held-out overheads are met ({rule}); of "
        f"those above {POINTS / RELATIVE:.0%}, where {POINTS * 100:.0f} points forgive nothing more, "
        f"{sum(row.within for row in large)} of {len(large)}."
    )


def _cells(row: FidelityRow) -> tuple[str, ...]:
    spread = "-" if row.lowest is None or row.highest is None else f"{_percent(row.lowest)} to {_percent(row.highest)}"
    verdict = "fitted" if row.fitted else "met" if row.within else "**missed**"
    off = f"{100 * (row.predicted - row.published):+.1f}"
    return row.setting, row.method, row.baseline, _percent(row.published), _percent(row.predicted), spread, off, verdict


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _settings(results: Results) -> list[str]:
    lines: list[str] = []
    machines: dict[str, str] = {}
    for name, fact in results.facts.items():
        quoted = [r.quoted for r in results.rows if isinstance(r, FidelityRow) and r.setting == name]
        lines += [f"**{name}**: {fact['says']} ({fact['source']}). Published: {'; '.join(quoted)}.", ""]
        lines += [f"* assumed: {text}" for text in fact["assumed"]]
        lines += [f"* machine: {fact['machine']}"]
        lines += [f"* fitted: `{n}` = {v:.3f}, so that {why}" for n, (v, why) in fact["fitted"].items()]
        lines += [f"* {method}: {why}" for method, why in fact["left_out"].items()]
        lines += [""]
        changed = [f"`{n}` {v:.4g} ({why})" for n, (v, why) in fact["changed"].items()]
        machines[fact["machine"]] = f"profile `{fact['profile']}`" + (f", but {'; '.join(changed)}" if changed else "")
    return [*lines, "Machines:", "", *(f"* **{name}**: {says}" for name, says in machines.items())]
