"""Each known race of the field must be reported, and its mended twin must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.races.known import KNOWN

Found = Callable[[str, bool], list[dict[str, Any]]]

pytestmark = pytest.mark.races_on_purpose


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_race_is_reported_with_both_its_operations(known_races: Found, name: str) -> None:
    expected = KNOWN[name]
    found = known_races(name, False)
    alike = [(race["kind"], race["first"]["operation"], race["second"]["operation"]) for race in found]
    assert (expected.kind, expected.first, expected.second) in alike


@pytest.mark.parametrize("name", KNOWN)
def test_its_mended_twin_is_not(known_races: Found, name: str) -> None:
    assert known_races(name, True) == []
