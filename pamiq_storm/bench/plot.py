"""Figures from results, as PNG bytes. Needs matplotlib, an extra."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

from pamiq_storm.bench.drawing import PlottingError
from pamiq_storm.bench.drawing import figure as _figure
from pamiq_storm.bench.drawing import png as _png
from pamiq_storm.bench.timeline import MemoryLine
from pamiq_storm.results import ArmRow, FidelityRow, HookRow, PublishRow, Results

COLOURS = {"none": "#6b7280", "save_on_cpu": "#d97706", "checkpoint": "#2563eb", "storm": "#be123c"}
DIRECTIONS = [("forward", "added_forward_us", 0.2, "#2563eb"), ("backward", "added_backward_us", -0.2, "#93c5fd")]
IMPL_COLOURS = {
    "storm_swap": "#be123c",
    "storm_copy": "#fb7185",
    "pamiq_core": "#d97706",
    "load_state_dict": "#2563eb",
    "foreach_copy": "#6b7280",
}
MARKERS = "osD^vP"
MIB = 1 << 20


def memory_figure(lines: Sequence[MemoryLine], limit_bytes: int, title: str) -> bytes:
    """Allocated device memory over one step, a line per arm, and the limit."""
    figure, axes = _figure(9.0, 4.8)
    for line in lines:
        colour = COLOURS.get(line.arm)
        heights = [size / MIB for size in line.allocated_bytes]
        axes.plot(line.time_ms, heights, label=line.arm, color=colour, linewidth=2.2 if line.arm == "storm" else 1.4)
        turn = min(range(len(line.time_ms)), key=lambda i: abs(line.time_ms[i] - line.turn_ms))
        axes.plot(line.time_ms[turn], heights[turn], "o", color=colour, markersize=5)
    axes.axhline(limit_bytes / MIB, color="black", linestyle="--", linewidth=1)
    axes.annotate(
        "memory limit ", (1.0, limit_bytes / MIB), xycoords=("axes fraction", "data"), ha="right", va="bottom"
    )
    axes.set_xlabel("time of the device in one step, ms (dot: backward begins)")
    axes.set_ylabel("allocated device memory, MiB")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_title(title)
    axes.legend(loc="upper right", frameon=False)
    return _png(figure)


def plot(results: Results) -> bytes:
    """The figure of a suite's results.

    Raises:
        PlottingError: matplotlib is missing, or the suite has no figure.
    """
    hooks = [row for row in results.rows if isinstance(row, HookRow)]
    publish = [row for row in results.rows if isinstance(row, PublishRow)]
    if hooks:
        return _hooks_figure(results, hooks)
    if publish:
        return _publish_figure(results, publish)
    if any(isinstance(row, ArmRow) for row in results.rows):
        from pamiq_storm.bench.offload.figures import step_against_peak

        return step_against_peak(results)
    if any(isinstance(row, FidelityRow) for row in results.rows):
        from pamiq_storm.bench.fidelity.figure import predicted_against_published

        return predicted_against_published(results)
    raise PlottingError(f"there is no figure for suite {results.suite!r}")


def _hooks_figure(results: Results, rows: Sequence[HookRow]) -> bytes:
    cases = list(dict.fromkeys(row.case for row in rows))
    figure, panels = _figure(4.2 * len(cases), 4.2, columns=len(cases))
    for axes, case in zip(panels if len(cases) > 1 else [panels], cases, strict=True):
        shown = [row for row in rows if row.case == case and row.hook != "none"]
        places = range(len(shown))
        for label, key, shift, colour in DIRECTIONS:
            widths = [getattr(row, key) for row in shown]
            axes.barh([place + shift for place in places], widths, 0.4, label=label, color=colour)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(list(places), [row.hook for row in shown])
        axes.set_title(case)
        axes.set_xlabel("added host time per saved tensor, us")
        axes.legend(frameon=False)
    figure.suptitle(f"Host cost of saved-tensor hooks ({results.device}{', simulated' if results.simulated else ''})")
    return _png(figure)


def _publish_figure(results: Results, rows: Sequence[PublishRow]) -> bytes:
    """Time of a sync: a panel per device against tensors, a line for each impl and number of parameters."""
    syncs = [row for row in rows if row.case.endswith(": sync") and row.p50_ms is not None]
    cases = list(dict.fromkeys(row.case for row in syncs))
    figure, panels = _figure(6.4 * len(cases), 4.8, columns=len(cases))
    for axes, case in zip(panels if len(cases) > 1 else [panels], cases, strict=True):
        shown = [row for row in syncs if row.case == case]
        sizes = sorted({f"{row.parameters:.0e}" for row in shown}, key=float)
        for impl in dict.fromkeys(row.impl for row in shown):
            for size, marker in zip(sizes, cycle(MARKERS)):
                line = sorted((r.tensors, r.p50_ms) for r in shown if r.impl == impl and f"{r.parameters:.0e}" == size)
                axes.plot(*zip(*line, strict=True), marker + "-", color=IMPL_COLOURS.get(impl), markersize=5)
            axes.plot([], [], "-", color=IMPL_COLOURS.get(impl), label=impl)
        for size, marker in zip(sizes, cycle(MARKERS)):
            axes.plot([], [], marker, color="black", label=f"{size} parameters")
        axes.set(xscale="log", yscale="log", xlabel="tensors", ylabel="one sync, median, ms", title=case)
        axes.legend(frameon=False, fontsize="small")
    figure.suptitle(f"Publishing parameters, torch {results.torch}")
    return _png(figure)
