"""Data on their way from the inference thread, which collects them, to the training thread, which uses them."""

from __future__ import annotations

import math
import pickle
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from pamiq_storm.atomic import write_atomically

from .buffer import DataBuffer
from .clock import system_clock
from .persistence import PersistentStateMixin

T = TypeVar("T")
R = TypeVar("R")

Stamped = deque[tuple[T, float]]


class DataCollector(Generic[T]):
    """The end that any thread may put data into."""

    def __init__(self, max_queue_size: int | None) -> None:
        self._lock = threading.Lock()  # guards _queue and _moved_at
        self._queue: Stamped[T] = deque(maxlen=max_queue_size)
        self._moved_at = -math.inf
        self.on_collected: Callable[[], None] | None = None  # set before threads start; called after each datum

    def collect(self, data: T) -> None:
        """Takes one datum and the time."""
        with self._lock:
            # What comes after a move is stamped later than it, however coarse the clock.
            stamp = max(system_clock().time(), math.nextafter(self._moved_at, math.inf))
            self._queue.append((data, stamp))
        if self.on_collected is not None:
            self.on_collected()

    def _move_data(self) -> tuple[Stamped[T], float]:
        """All data since the last move, and the time of this one; for the `DataUser` alone."""
        with self._lock:
            moved, self._queue = self._queue, deque(maxlen=self._queue.maxlen)
            newest = moved[-1][1] if moved else self._moved_at
            self._moved_at = max(system_clock().time(), newest)
            return moved, self._moved_at


class DataUser(PersistentStateMixin, Generic[R]):
    """The end that training takes data from: a buffer, and when its data came."""

    def __init__(self, buffer: DataBuffer[Any, R]) -> None:
        self._lock = threading.RLock()  # guards _buffer, _timestamps and _updated_at: a save may come beside a training
        self._buffer = buffer
        self._timestamps: deque[float] = deque(maxlen=buffer.max_queue_size)
        self._updated_at = -math.inf
        self._collector = DataCollector[Any](buffer.max_queue_size)

    @property
    def updated_at(self) -> float:
        """The moment up to which the last `update` moved data: what came later is stamped later."""
        return self._updated_at

    def update(self) -> None:
        """Moves what was collected into the buffer."""
        with self._lock:
            moved, self._updated_at = self._collector._move_data()
            for data, stamp in moved:
                self._buffer.add(data)
                self._timestamps.append(stamp)

    def get_data(self) -> R:
        """Updates, then returns what the buffer holds."""
        with self._lock:
            self.update()
            return self._buffer.get_data()

    def count_data_added_since(self, timestamp: float) -> int:
        """How many data that `update` has moved were collected after `timestamp`."""
        with self._lock:
            for count, stamp in enumerate(reversed(self._timestamps)):
                if stamp <= timestamp:
                    return count
            return len(self._timestamps)

    def save_state(self, path: Path) -> None:
        """Updates, then writes buffer and times into the new folder `path`."""
        with self._lock:
            self.update()
            path.mkdir()
            self._buffer.save_state(path / "buffer")
            stamps = pickle.dumps(self._timestamps)
        write_atomically(path / "timestamps.pkl", stamps)

    def load_state(self, path: Path) -> None:
        with self._lock:
            self._buffer.load_state(path / "buffer")
            stamps: list[float] = pickle.loads((path / "timestamps.pkl").read_bytes())
            self._timestamps = deque(stamps, maxlen=self._buffer.max_queue_size)

    def __len__(self) -> int:
        with self._lock:
            return len(self._buffer)
