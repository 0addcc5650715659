"""The same program takes the same time, whatever it computes with."""

from __future__ import annotations

import pytest

from tests.virtual.child import Child
from tests.virtual.programs import PROGRAMS, schedule


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_ghost_and_real_numbers_take_the_same_times(real: Child, ghost: Child, name: str) -> None:
    computed, imagined = real.run(schedule, name), ghost.run(schedule, name)
    assert len(computed["spans"]) > 20
    assert computed["spans"] == imagined["spans"]
    assert computed["ns"] == imagined["ns"]


@pytest.mark.timeout(300)
def test_fresh_processes_give_identical_schedules() -> None:
    seen = []
    for _ in range(2):
        child = Child(clock="virtual", memory="ghost", profile="rtx4090")
        seen.append([child.run(schedule, name) for name in ("mlp", "language_model", "convolutions")])
        child.close()
    assert seen[0] == seen[1]
    assert all(run["stats"]["d2h_copies"] > 0 for run in seen[0])


def test_a_step_repeats_to_the_nanosecond(child: Child) -> None:
    a, b = child.run(schedule, "attention", 5), child.run(schedule, "attention", 9)
    assert a["spans"] == b["spans"]
    assert a["ns"] == b["ns"]
