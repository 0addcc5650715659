"""What is observed and affected."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from .events import InteractionEventMixin, ThreadEventMixin
from .persistence import PersistentStateMixin

O = TypeVar("O")  # noqa: E741 (the name of the type of observations in pamiq_core)
A = TypeVar("A")


class Environment(ABC, InteractionEventMixin, PersistentStateMixin, ThreadEventMixin, Generic[O, A]):
    """The world of an agent."""

    @abstractmethod
    def observe(self) -> O:
        """What is to be seen now."""

    @abstractmethod
    def affect(self, action: A) -> None:
        """Carries out an action."""
