"""Waiting for the next beat of a steady rate."""

from __future__ import annotations

import math
import threading
import time
from abc import ABC, abstractmethod


class IntervalAdjustor(ABC):
    """Keeps beats `interval` seconds apart, on a grid that starts at `reset`.

    A late beat does not shift those after it, so the rate does not drift; beats missed altogether are skipped, not
    made up for.

    Args:
        interval: Seconds between beats.
        offset: How much earlier than that the first beat comes.

    Raises:
        ValueError: `interval` is negative.
    """

    _last_reset_time: float = -math.inf

    def __init__(self, interval: float, offset: float = 0.0) -> None:
        if interval < 0:
            raise ValueError(f"interval must be a number of seconds from 0, got {interval}")
        self._interval = interval
        self._offset = offset
        self._last_adjust_time = -math.inf
        self._time_to_wait = interval - offset  # from _last_reset_time to the next beat

    def reset(self) -> float:
        """Starts the grid now; returns this moment by `time.perf_counter`."""
        self._last_reset_time = self._last_adjust_time = time.perf_counter()
        self._time_to_wait = self._interval - self._offset
        return self._last_reset_time

    @property
    def interrupted(self) -> bool:
        """Whether the last `adjust` ended before its beat: the next one goes on waiting for the same."""
        return False

    def interrupt(self) -> None:  # noqa: B027 (not every adjustor can)
        """From any thread: ends a wait, the running one or else the next, if the adjustor can."""

    @abstractmethod
    def adjust_impl(self) -> None:
        """Waits until `_time_to_wait` seconds after `_last_reset_time`."""

    def adjust(self) -> float:
        """Waits for the next beat; returns the seconds since the last one, or since `reset`."""
        self.adjust_impl()
        now = time.perf_counter()
        elapsed = now - self._last_adjust_time
        if not self.interrupted:
            self._last_adjust_time = now
            self._move_on(now)
        return elapsed

    def _move_on(self, now: float) -> None:
        beat = self._last_reset_time + self._time_to_wait
        if not math.isfinite(beat):  # never reset: the grid starts here
            beat = now
        elif self._interval > 0 and now > beat:
            beat += math.floor((now - beat) / self._interval) * self._interval
        self._last_reset_time = beat
        self._time_to_wait = self._interval


class SleepIntervalAdjustor(IntervalAdjustor):
    """Sleeps until the beat."""

    def __init__(self, interval: float, offset: float = 0.0) -> None:
        super().__init__(interval, offset)
        self._wake = threading.Event()
        self._interrupted = False

    @property
    def interrupted(self) -> bool:
        return self._interrupted

    def interrupt(self) -> None:
        self._wake.set()

    def adjust_impl(self) -> None:
        remaining = self._last_reset_time + self._time_to_wait - time.perf_counter()
        self._interrupted = remaining > 0 and self._wake.wait(remaining)
        if self._interrupted:
            self._wake.clear()
