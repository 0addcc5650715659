"""Figures for the documentation, made from a result file so that nobody copies numbers by hand."""

from __future__ import annotations

from pamiq_storm.results import OffloadRow, Results
from pamiq_storm.units import format_bytes


def figures_table(results: Results) -> str:
    """Markdown table of an offload comparison, relative to its first row."""
    rows = [row for row in results.rows if isinstance(row, OffloadRow)]
    plain = rows[0]
    label = "simulated" if results.simulated else results.profile
    lines = [
        f"| {label} | peak memory | of `none` | step | of `none` | of its lower bound | bytes out | same bits |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [
            f"`{row.arm}`",
            format_bytes(row.peak_allocated_bytes),
            f"{row.peak_allocated_bytes / plain.peak_allocated_bytes:.0%}",
            f"{row.step_ms:.0f} ms",
            f"{row.step_ms / plain.step_ms:.2f}x",
            f"{row.step_ms / row.lower_bound_ms:.2f}x",
            format_bytes(row.d2h_bytes),
            {None: "-", True: "yes", False: "no"}[row.bit_identical],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_section(text: str, name: str, content: str) -> str:
    """The page with what stands between the comments `name: begin` and `name: end` replaced.

    Raises:
        ValueError: the page has not exactly one such pair.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"
    before, first, rest = text.partition(begin)
    _, second, after = rest.partition(end)
    if not (first and second) or begin in after:
        raise ValueError(f"the page needs one {begin.strip()} and one {end.strip()} after it")
    return f"{before}{begin}{content.rstrip()}\n{end}{after}"
