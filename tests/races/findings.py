"""What the detector says of each program of this folder, in plain data: it may come from another process."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pamiq_storm import sim
from tests.races.generated import Generator, Run, removable
from tests.races.known import KNOWN
from tests.races.observe import observe


@dataclass(frozen=True)
class Verdict:
    """Of a generated program: how many races there are by the oracle, and what was reported."""

    races: int
    reported: list[str]


def of_known(name: str, edge: bool) -> list[sim.Race]:
    return observe(lambda: KNOWN[name].program(edge))


def of_generated(seed: int, broken: bool) -> Verdict:
    """A correct program, or the same without one of its edges."""
    actions = Generator(seed).program(steps=25)
    without = random.Random(seed).choice(removable(actions)) if broken and removable(actions) else None
    runs: list[Run] = []
    reported = observe(lambda: runs.append(Run(actions, without)))
    return Verdict(runs[0].oracle.races, [str(race) for race in reported])


def of_all_generated(count: int, broken: bool) -> list[Verdict]:
    return [of_generated(seed, broken) for seed in range(count)]
