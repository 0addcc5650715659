"""Correct programs are not reported; those that lost a needed edge are, whichever edge it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.races.findings import GENERATED, Verdict

Judge = Callable[[int, bool], Verdict]

pytestmark = pytest.mark.races_on_purpose


def test_correct_programs_are_not_reported(generated_verdict: Judge) -> None:
    for seed in range(GENERATED):
        verdict = generated_verdict(seed, False)
        assert verdict.races == 0, f"the generator wrote a race, seed {seed}"
        assert verdict.reported == [], f"seed {seed}"


def test_programs_without_a_needed_edge_are_reported_and_those_without_another_are_not(
    generated_verdict: Judge,
) -> None:
    racing = 0
    for seed in range(GENERATED):
        verdict = generated_verdict(seed, True)
        assert bool(verdict.reported) == (verdict.races > 0), f"seed {seed}: {verdict}"
        racing += verdict.races > 0
    assert GENERATED // 4 < racing < GENERATED  # both kinds of programs are among them
