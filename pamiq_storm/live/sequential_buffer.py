"""The newest data in the order of their arrival."""

from __future__ import annotations

import pickle
from collections import deque
from pathlib import Path
from typing import TypeVar

from pamiq_storm.atomic import write_atomically

from .buffer import DataBuffer

T = TypeVar("T")


class SequentialBuffer(DataBuffer[T, list[T]]):
    """Keeps the newest `max_size` data, oldest first.

    Its state is a pickle, since data may be anything: load only checkpoints that you trust.
    """

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size)
        self._max_size = max_size
        self._queue: deque[T] = deque(maxlen=max_size)

    @property
    def max_size(self) -> int:
        """How many data it keeps."""
        return self._max_size

    def add(self, data: T) -> None:
        """Appends; the oldest is dropped where there are too many."""
        self._queue.append(data)

    def get_data(self) -> list[T]:
        """A new list, oldest first."""
        return list(self._queue)

    def __len__(self) -> int:
        return len(self._queue)

    def save_state(self, path: Path) -> None:
        """Writes `PATH.pkl`."""
        write_atomically(path.with_suffix(".pkl"), pickle.dumps(self._queue))

    def load_state(self, path: Path) -> None:
        """Reads `PATH.pkl`; of more than `max_size` data the newest stay."""
        self._queue = deque(pickle.loads(path.with_suffix(".pkl").read_bytes()), maxlen=self._max_size)
