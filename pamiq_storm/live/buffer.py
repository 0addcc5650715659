"""Where data wait to be trained on."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from .persistence import PersistentStateMixin

T = TypeVar("T")
R = TypeVar("R")


class DataBuffer(ABC, PersistentStateMixin, Generic[T, R]):
    """Takes data of type T one by one, and gives all of them as an R.

    Args:
        max_queue_size: How many data may wait between two updates of the buffer; older ones are dropped. None is
            without bound, and warns.

    Raises:
        ValueError: `max_queue_size` is negative.
    """

    def __init__(self, max_queue_size: int | None = None) -> None:
        super().__init__()
        if max_queue_size is None:
            warnings.warn(
                "max_queue_size=None: data that are collected faster than trained on take memory without bound",
                RuntimeWarning,
                stacklevel=2,
            )
        elif max_queue_size < 0:
            raise ValueError(f"max_queue_size must be None or a number from 0, got {max_queue_size}")
        self._max_queue_size = max_queue_size

    @property
    def max_queue_size(self) -> int | None:
        """How many data may wait between two updates."""
        return self._max_queue_size

    @abstractmethod
    def add(self, data: T) -> None:
        """Takes one more."""

    @abstractmethod
    def get_data(self) -> R:
        """All that it holds."""

    @abstractmethod
    def __len__(self) -> int:
        """How many it holds."""
