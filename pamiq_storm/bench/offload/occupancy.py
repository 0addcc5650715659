"""What a recorded step looks like in equal slices of its time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SLICES = 120
LANES = ("compute", "d2h", "h2d")


def binned(timeline: Any, begin_ns: int, end_ns: int, slices: int = SLICES) -> dict[str, Any]:
    """Share of each slice in which a lane is busy, in percent, and the most memory allocated in it."""
    width = max(end_ns - begin_ns, 1) / slices
    busy = {
        lane: _busy([(s.begin_ns, s.end_ns) for s in timeline.spans if s.lane == lane], begin_ns, width, slices)
        for lane in LANES
    }
    points = [(point.ns, point.allocated) for point in timeline.memory]
    return {
        "step_ms": (end_ns - begin_ns) / 1e6,
        "allocated_bytes": _highest(points, begin_ns, width, slices),
        "busy_percent": {lane: [round(100 * share) for share in shares] for lane, shares in busy.items()},
    }


def _busy(spans: Iterable[tuple[int, int]], begin: int, width: float, slices: int) -> list[float]:
    shares = [0.0] * slices
    for first, last in _merged(spans):
        for index in range(max(0, int((first - begin) / width)), slices):
            low, high = begin + index * width, begin + (index + 1) * width
            if low >= last:
                break
            shares[index] += max(0.0, min(last, high) - max(first, low)) / width
    return shares


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Overlapping ones become one: two streams that compute at once do not make 200 %."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _highest(points: list[tuple[int, int]], begin: int, width: float, slices: int) -> list[int]:
    highest: list[int | None] = [None] * slices
    before = 0
    for time, size in points:
        if time < begin:
            before = size
            continue
        index = min(int((time - begin) / width), slices - 1)
        highest[index] = max(highest[index] or 0, size)
    filled: list[int] = []
    last = {time: size for time, size in points}
    level, ordered = before, sorted(last)
    at = 0
    for index in range(slices):
        end = begin + (index + 1) * width
        filled.append(max(level, highest[index] or 0))
        while at < len(ordered) and ordered[at] < end:
            level = last[ordered[at]]
            at += 1
    return filled
