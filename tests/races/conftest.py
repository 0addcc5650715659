"""Everything here runs under both clocks. The virtual one has a process of its own, as a process has one clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pamiq_storm import sim
from tests.virtual.child import Child

Elsewhere = Callable[..., Any]  # runs a function with its arguments


@pytest.fixture(scope="session")
def virtual() -> Iterator[Elsewhere]:
    child = Child(clock="virtual", memory="real", limit="1GiB", races=True)
    yield child.run
    child.close()


@pytest.fixture(params=["threads", "virtual"])
def run(request: pytest.FixtureRequest) -> Elsewhere:
    """Under either clock."""
    if request.param == "virtual":
        return request.getfixturevalue("virtual")
    sim.enable(memory="1GiB", d2h=None, h2d=None)
    return lambda function, *args: function(*args)
