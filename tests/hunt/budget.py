"""How long the hunt goes on, and what to replay. CI hunts the same prey each time; by hand it may look further.

``STORM_HUNT=n``: n times as many examples, drawn afresh instead of the same ones. Hypothesis prints what to add to a
test to replay a failure.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

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
