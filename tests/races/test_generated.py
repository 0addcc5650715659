"""Correct programs are not reported; those that lost a needed edge are, whichever edge it was."""

from __future__ import annotations

import pytest

from tests.races.conftest import Elsewhere
from tests.races.findings import of_all_generated

GENERATED = 200

pytestmark = pytest.mark.races_on_purpose


def test_correct_programs_are_not_reported(run: Elsewhere) -> None:
    for seed, verdict in enumerate(run(of_all_generated, GENERATED, False)):
        assert verdict.races == 0, f"the generator wrote a race, seed {seed}"
        assert verdict.reported == [], f"seed {seed}"


def test_programs_without_a_needed_edge_are_reported_and_those_without_another_are_not(run: Elsewhere) -> None:
    verdicts = run(of_all_generated, GENERATED, True)
    for seed, verdict in enumerate(verdicts):
        assert bool(verdict.reported) == (verdict.races > 0), f"seed {seed}: {verdict}"
    racing = sum(verdict.races > 0 for verdict in verdicts)
    assert GENERATED // 4 < racing < GENERATED  # both kinds of programs are among them
