"""How long the hunt goes on, and what to replay. CI hunts the same prey each time; by hand it may look further.

``STORM_HUNT=n``: n times as many examples, drawn afresh instead of the same ones. Hypothesis prints what to add to a
test to replay a failure.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant


class Counting:
    """For a state machine: how many programs and steps it really ran."""

    programs = steps = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).programs += 1

    @invariant()
    def _count(self) -> None:
        type(self).steps += 1

    @classmethod
    def said(cls) -> str:
        return f"{cls.__name__}: {cls.programs} random programs of {cls.steps} steps in all, each as its model says"


_FACTOR = int(os.environ.get("STORM_HUNT", "1"))


def budget(examples: int, steps: int = 30) -> settings:
    """Hypothesis settings: deterministic unless ``STORM_HUNT`` asks for more."""
    return settings(
        max_examples=examples * _FACTOR,
        stateful_step_count=steps,
        derandomize=_FACTOR == 1,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
