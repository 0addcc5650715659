"""Live models are tested in both ways of publishing."""

from __future__ import annotations

import pytest

from pamiq_storm.torch import PublishMode


@pytest.fixture(params=["swap", "copy"])
def publish(request: pytest.FixtureRequest) -> PublishMode:
    """How versions get to inference."""
    return request.param
