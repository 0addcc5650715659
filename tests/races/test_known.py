"""Each known race of the field must be reported, and its mended twin must not."""

from __future__ import annotations

import pytest

from tests.races.conftest import Elsewhere
from tests.races.findings import of_known
from tests.races.known import KNOWN

pytestmark = pytest.mark.races_on_purpose


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_race_is_reported_with_both_its_operations(run: Elsewhere, name: str) -> None:
    expected = KNOWN[name]
    found = [
        (race.kind, *(side.operation.split(".")[0] for side in (race.first, race.second)))
        for race in run(of_known, name, False)
    ]
    assert (expected.kind, expected.first, expected.second) in found


@pytest.mark.parametrize("name", KNOWN)
def test_its_mended_twin_is_not(run: Elsewhere, name: str) -> None:
    assert run(of_known, name, True) == []
