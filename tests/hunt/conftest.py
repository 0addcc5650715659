"""Lines the tests want said at the end of the run; `tests/conftest.py` prints them."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def say_at_the_end(request: pytest.FixtureRequest) -> Callable[[str], None]:
    def say(line: str) -> None:
        request.node.user_properties.append(("said", line))  # travels with the report, from a worker process too

    return say
