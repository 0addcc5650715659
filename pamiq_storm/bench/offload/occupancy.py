"""What a recorded step looks like in equal slices of its time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pamiq_storm.bench.timeline import MemoryLine

SLICES = 120
LANES = ("compute", "d2h", "h2d")


def binned(timeline: Any, begin_ns: int, end_ns: int, slices: int = SLICES) -> dict[str, Any]:
    """Share of each slice in which a lane is busy, in percent."""
    width = max(end_ns - begin_ns, 1) / slices
    busy = {
        lane: _busy([(s.begin_ns, s.end_ns) for s in timeline.spans if s.lane == lane], begin_ns, width, slices)
        for lane in LANES
    }
    return {
        "step_ms": (end_ns - begin_ns) / 1e6,
        "busy_percent": {lane: [round(100 * share) for share in shares] for lane, shares in busy.items()},
    }


def memory_over_time(line: MemoryLine, slices: int = SLICES) -> dict[str, Any]:
    """The most memory allocated in each slice, by the time at which the device got there."""
    last = max(line.time_ms)
    points = sorted(zip(line.time_ms, line.allocated_bytes, strict=True))
    return {"memory_ms": last, "turn_ms": line.turn_ms, "allocated_bytes": _highest(points, last / slices, slices)}


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


def _highest(points: list[tuple[float, int]], width: float, slices: int) -> list[int]:
    """The greatest size in each slice, that which it began with included. Points are in the order of time."""
    highest, level, at = list[int](), 0, 0
    for index in range(slices):
        top = level
        while at < len(points) and (points[at][0] < (index + 1) * width or index == slices - 1):
            level = points[at][1]
            top = max(top, level)
            at += 1
        highest.append(top)
    return highest
