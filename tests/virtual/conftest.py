"""Each kind of virtual simulator lives in one child process per test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.virtual.child import Child


@pytest.fixture(scope="session")
def real() -> Iterator[Child]:
    """Virtual time, memory with contents."""
    child = Child(clock="virtual", memory="real", limit="2GiB", profile="rtx4090")
    yield child
    child.close()


@pytest.fixture(scope="session")
def ghost() -> Iterator[Child]:
    """Virtual time, memory without contents, a 4090's 24 GB."""
    child = Child(clock="virtual", memory="ghost", profile="rtx4090")
    yield child
    child.close()


@pytest.fixture(params=["real", "ghost"])
def child(request: pytest.FixtureRequest) -> Child:
    """Both, one after the other."""
    return request.getfixturevalue(request.param)
