"""The simulator's time, and what happened in it."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from pamiq_storm.sim.native import enabled


class Span(NamedTuple):
    """One kernel or copy: which engine of the device it occupied, and from when to when."""

    lane: Literal["compute", "d2h", "h2d"]
    name: str
    stream: int
    begin_ns: int
    end_ns: int
    bytes: int
    """Of device memory read and written, or of those that crossed the link."""


class MemoryPoint(NamedTuple):
    """Device memory after a block was taken or freed, by the host's clock; bytes."""

    ns: int
    allocated: int
    reserved: int


class Timeline:
    """What the virtual clock recorded, complete once the block of `timeline` has ended."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.memory: list[MemoryPoint] = []


def now_ns() -> int:
    """Return the host's time in nanoseconds: virtual, or of the computer's steady clock.

    Raises:
        RuntimeError: the simulator is not enabled.
    """
    return enabled().now_ns()


def advance(seconds: float) -> None:
    """Charge the host with work of its own; the computer's clock needs no telling and ignores it.

    Raises:
        RuntimeError: the simulator is not enabled.
        ValueError: the time is negative or no number.
    """
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"time only goes on: cannot advance by {seconds!r} seconds")
    enabled().advance(seconds)


def charge(ranges: Mapping[str, float]) -> None:
    """Charge the host each time a range of the profiler begins, by its name, in seconds.

    For C++ code that costs host time between its device calls, such as ``storm::offload``. Replaces what
    was charged before; an empty mapping ends it. The computer's clock ignores it.

    Raises:
        RuntimeError: the simulator is not enabled.
        ValueError: a time is negative or no number.
    """
    for name, seconds in ranges.items():
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"{name} cannot be charged with {seconds!r} seconds")
    enabled().charge_ranges(dict(ranges))


@contextlib.contextmanager
def timeline() -> Iterator[Timeline]:
    """Record what kernels and copies do when, and how much memory is taken, under the virtual clock.

    Raises:
        RuntimeError: the simulator is not enabled.
    """
    native = enabled()
    recorded = Timeline()
    native.start_timeline()
    try:
        yield recorded
    finally:
        native.stop_timeline()
        recorded.spans += [Span(*span) for span in native.spans()]
        recorded.memory += [MemoryPoint(*point) for point in native.memory_points()]
