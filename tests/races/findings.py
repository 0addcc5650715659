"""What the detector says of every program of this folder, as plain data.

As a program (``python -m tests.races.findings``) it uses the virtual clock, which a process chooses once, and writes
its findings as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import random
import sys
from typing import Any

from pamiq_storm import sim
from tests.races.generated import Generator, Run, removable
from tests.races.known import KNOWN
from tests.races.observe import observe

GENERATED = 200


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Of a generated program: how many races there are by the oracle, and what was reported."""

    races: int
    reported: list[str]


def of_known() -> dict[str, dict[bool, list[dict[str, Any]]]]:
    return {name: {edge: of_one(name, edge) for edge in (False, True)} for name in KNOWN}


def of_one(name: str, edge: bool) -> list[dict[str, Any]]:
    return [dataclasses.asdict(race) for race in observe(lambda: KNOWN[name].program(edge))]


def of_generated(seed: int, broken: bool) -> Verdict:
    """A correct program, or the same without one of its edges."""
    actions = Generator(seed).program(steps=25)
    without = random.Random(seed).choice(removable(actions)) if broken and removable(actions) else None
    runs: list[Run] = []
    reported = observe(lambda: runs.append(Run(actions, without)))
    return Verdict(runs[0].oracle.races, [str(race) for race in reported])


def main() -> None:
    sim.enable(memory="real", clock="virtual", races=True)
    generated = {
        kind: [dataclasses.asdict(of_generated(seed, kind == "broken")) for seed in range(GENERATED)]
        for kind in ("correct", "broken")
    }
    known = {name: {str(edge): found for edge, found in both.items()} for name, both in of_known().items()}
    json.dump({"known": known, "generated": generated}, sys.stdout)


if __name__ == "__main__":
    main()
