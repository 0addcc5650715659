"""Charts from a result of this suite, as PNG bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pamiq_storm.bench import drawing
from pamiq_storm.bench.offload.tables import cells
from pamiq_storm.results import ArmRow, Results

GB = 1e9
COLOURS = {
    "none": "#6b7280",
    "checkpoint": "#2563eb",
    "save_on_cpu": "#d97706",
    "torchtune": "#65a30d",
    "trl": "#0d9488",
    "storm": "#be123c",
}
COMPILED = "#7c3aed"
"""The budgets are points of one line."""
LANES = {"compute": "#9ca3af", "d2h": "#be123c", "h2d": "#2563eb"}


def step_against_peak(results: Results) -> bytes:
    """All arms, one panel for each workload and profile: left and low is good."""
    found = cells([row for row in results.rows if isinstance(row, ArmRow)])
    columns = min(3, max(1, len(found)))
    lines = -(-len(found) // columns)
    figure, axes = drawing.panels(4.6 * columns, 3.6 * lines, lines, columns)
    for panel, ((workload, profile), rows) in zip(axes, found.items(), strict=False):
        _points(panel, rows)
        panel.set(title=f"{workload} on {profile}", xlabel="peak memory, GB", ylabel="step, ms")
    for panel in axes[len(found) :]:
        panel.set_visible(False)
    figure.suptitle(f"Step time against peak memory{_label(results)}; hollow: does not fit the device")
    return drawing.png(figure)


def memory_lines(results: Results) -> bytes:
    """Memory over forward and backward, a line for each arm that is not compiled, a panel for each recorded cell."""
    recorded = _recorded(results)
    figure, axes = drawing.panels(7.5 * max(1, len(recorded)), 4.6, 1, max(1, len(recorded)))
    for panel, (cell, arms) in zip(axes, recorded.items(), strict=False):
        for arm, found in arms.items():
            if "allocated_bytes" not in found:
                continue
            heights = [size / GB for size in found["allocated_bytes"]]
            width = found["memory_ms"] / len(heights)
            times = [(index + 0.5) * width for index in range(len(heights))]
            panel.plot(times, heights, label=arm, color=_colour(arm), linewidth=2.2 if arm == "storm" else 1.2)
        panel.set(
            title=cell,
            xlabel="the device's time in forward and backward, ms",
            ylabel="allocated, GB",
            xlim=(0, None),
            ylim=(0, None),
        )
        panel.legend(frameon=False, fontsize="small")
    figure.suptitle(f"Memory over one step{_label(results)}")
    return drawing.png(figure)


def link_occupancy(results: Results) -> bytes:
    """How busy compute and both directions of the link are over a step, a panel for each arm of each recorded cell."""
    recorded = _recorded(results)
    shown = [(cell, arm, found) for cell, arms in recorded.items() for arm, found in arms.items() if _moves(found)]
    columns = min(4, max(1, len(shown)))
    lines = -(-max(1, len(shown)) // columns)
    figure, axes = drawing.panels(4.4 * columns, 2.6 * lines, lines, columns)
    for panel, (cell, arm, found) in zip(axes, shown, strict=False):
        slices = len(found["busy_percent"]["compute"])
        times = [(index + 0.5) * found["step_ms"] / slices for index in range(slices)]
        for lane, colour in LANES.items():
            panel.plot(times, found["busy_percent"][lane], color=colour, label=lane, linewidth=1.1)
        panel.set(title=f"{arm}, {cell}", xlabel="ms", ylabel="busy, %", ylim=(-4, 108))
    for panel in axes[len(shown) :]:
        panel.set_visible(False)
    if shown:
        axes[0].legend(frameon=False, fontsize="small")
    figure.suptitle(f"Occupancy over one step{_label(results)}")
    return drawing.png(figure)


FIGURES = {"": step_against_peak, "_memory": memory_lines, "_link": link_occupancy}
"""By what is added to a file's name."""


def _points(panel: Any, rows: list[ArmRow]) -> None:
    line = [(row.peak_allocated_bytes or 0, row.step_ms) for row in rows if row.arm.startswith("compile")]
    panel.plot([peak / GB for peak, _ in line], [ms for _, ms in line], "-", color=COMPILED, linewidth=0.8)
    for row in rows:
        if row.step_ms is None or row.peak_allocated_bytes is None:
            continue
        face = "none" if row.fits is False else _colour(row.arm)
        at = (row.peak_allocated_bytes / GB, row.step_ms)
        panel.plot(*at, "s" if row.arm == "storm" else "o", color=_colour(row.arm), markerfacecolor=face)
        panel.annotate(row.arm, at, fontsize=7, xytext=(4, 3), textcoords="offset points")
    panel.set_ylim(bottom=0)
    panel.margins(x=0.15, y=0.15)


def _recorded(results: Results) -> Mapping[str, Mapping[str, Any]]:
    return results.facts.get("timelines", {})


def _moves(found: Mapping[str, Any]) -> bool:
    return any(found["busy_percent"]["d2h"])


def _colour(arm: str) -> str:
    return COLOURS.get(arm, COMPILED)


def _label(results: Results) -> str:
    return ", simulated" if results.simulated else f" on {results.profile}"
