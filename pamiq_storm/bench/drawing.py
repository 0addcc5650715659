"""What every figure needs of matplotlib, an extra."""

from __future__ import annotations

import io
from typing import Any


class PlottingError(RuntimeError):
    """No figure can be made; the message says what to do."""


def figure(width: float, height: float, lines: int = 1, columns: int = 1) -> tuple[Any, Any]:
    """A figure of this size in inches, and its axes: one, or an array of them.

    Raises:
        PlottingError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlottingError("figures need matplotlib: pip install 'pamiq-storm[plot]'") from error
    made = Figure(figsize=(width, height), layout="constrained")
    return made, made.subplots(lines, columns)


def panels(width: float, height: float, lines: int, columns: int) -> tuple[Any, list[Any]]:
    """The same with the axes as a list, line by line."""
    made, axes = figure(width, height, lines, columns)
    return made, [axes] if lines * columns == 1 else list(axes.flat)


def png(made: Any) -> bytes:
    """The figure as a file's content."""
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
