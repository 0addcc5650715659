"""The time that data are stamped with."""

from __future__ import annotations

import pickle
import sys
import threading
import time as _time
from pathlib import Path
from typing import Protocol

from pamiq_storm.atomic import write_atomically

from .persistence import PersistentStateMixin

__all__ = ["Clock", "SystemClock", "system_clock"]


class SystemClock(Protocol):
    """Time that goes on across restarts."""

    def time(self) -> float: ...
    def save_state(self, path: Path) -> None: ...
    def load_state(self, path: Path) -> None: ...


class Clock(PersistentStateMixin):
    """Seconds since the epoch as they were at the start, moved on by the monotonic clock.

    So it never jumps when someone sets the wall clock, and after a restart it goes on where the checkpoint was taken:
    older data never look newer than newer ones.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _offset
        self._offset = _time.time() - _time.monotonic()

    def time(self) -> float:
        with self._lock:
            return _time.monotonic() + self._offset

    def save_state(self, path: Path) -> None:
        """Writes `PATH.pkl`, with the keys that pamiq_core reads."""
        state = {
            "scaled_anchor_time": self.time(),
            "scaled_anchor_monotonic": _time.monotonic(),
            "scaled_anchor_perf_counter": _time.perf_counter(),
        }
        write_atomically(path.with_suffix(".pkl"), pickle.dumps(state))

    def load_state(self, path: Path) -> None:
        saved = float(pickle.loads(path.with_suffix(".pkl").read_bytes())["scaled_anchor_time"])
        with self._lock:
            self._offset = saved - _time.monotonic()


_own = Clock()


def system_clock() -> SystemClock:
    """The one clock of this process: pamiq_core's where that is in use (its trainers compare by it)."""
    core = sys.modules.get("pamiq_core.time")
    return _own if core is None else core.get_global_time_controller()
