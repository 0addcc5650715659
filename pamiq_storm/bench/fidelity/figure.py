"""The figure of the suite."""

from __future__ import annotations

from itertools import cycle

from pamiq_storm.bench.drawing import figure, png
from pamiq_storm.bench.fidelity.report import POINTS, RELATIVE
from pamiq_storm.results import FidelityRow, Results

COLOURS = ("#be123c", "#2563eb", "#d97706", "#059669", "#7c3aed")
MARKERS = "osD^v"


def predicted_against_published(results: Results) -> bytes:
    """Published overheads against predicted ones; on the line they agree, within the band they count as met."""
    rows = [row for row in results.rows if isinstance(row, FidelityRow)]
    drawing, axes = figure(6.4, 5.6)
    points = [100 * number for row in rows for number in (row.published, row.predicted)]
    low, high = min(0, *points) - 3, 1.05 * max(points)
    line = [low + (high - low) * step / 200 for step in range(201)]
    slack = [max(100 * POINTS, RELATIVE * abs(value)) for value in line]
    axes.plot(line, line, color="black", linewidth=0.8)
    band = [[a + sign * b for a, b in zip(line, slack, strict=True)] for sign in (-1, 1)]
    axes.fill_between(line, *band, color="#e5e7eb")
    for setting, marker, colour in zip(dict.fromkeys(row.setting for row in rows), cycle(MARKERS), cycle(COLOURS)):
        shown = [row for row in rows if row.setting == setting]
        places = [100 * row.published for row in shown], [100 * row.predicted for row in shown]
        axes.plot(*places, marker, color=colour, label=setting)
    axes.set(xlim=(low, high), ylim=(low, high), xlabel="published overhead, %", ylabel="predicted, simulated, %")
    axes.legend(frameon=False, loc="upper left")
    return png(drawing)
