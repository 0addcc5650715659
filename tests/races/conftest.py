"""Everything here runs under both clocks, each in a process of its own: the programs use up many streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.virtual.child import Child

Elsewhere = Callable[..., Any]  # runs a function with its arguments


@pytest.fixture(scope="session")
def virtual() -> Iterator[Elsewhere]:
    child = Child(clock="virtual", memory="real", limit="1GiB", races=True)
    yield child.run
    child.close()


@pytest.fixture(scope="session")
def threads() -> Iterator[Elsewhere]:
    child = Child(clock="threads", memory="1GiB", d2h=None, h2d=None, races=True)
    yield child.run
    child.close()


@pytest.fixture(params=["threads", "virtual"])
def run(request: pytest.FixtureRequest) -> Elsewhere:
    """Under either clock."""
    return request.getfixturevalue(request.param)
