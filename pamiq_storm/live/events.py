"""What the threads of a system tell the objects that live in them."""

from __future__ import annotations


class ThreadEventMixin:
    """Told, in its own thread, when that thread pauses and when it goes on."""

    def on_paused(self) -> None:
        """The thread has come to a step boundary and will rest there."""

    def on_resumed(self) -> None:
        """The thread goes on, or is about to end."""


class InteractionEventMixin:
    """Told, in the inference thread, when the interaction begins and ends."""

    def setup(self) -> None:
        """Called once before the first step."""

    def teardown(self) -> None:
        """Called once after the last step, also when a step or `setup` failed."""
