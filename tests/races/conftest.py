"""Findings under both clocks. The virtual one has a process of its own: a process chooses its clock once."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pamiq_storm import sim
from tests.races import findings

@functools.cache
def virtual_findings() -> Any:
    """Made when first asked for."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.races.findings"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(params=["threads", "virtual"])
def clock(request: pytest.FixtureRequest) -> str:
    if request.param == "threads":
        sim.enable(memory="1GiB", d2h=None, h2d=None, races=True)
    return request.param


@pytest.fixture
def known_races(clock: str) -> Callable[[str, bool], list[dict[str, Any]]]:
    if clock == "virtual":
        return lambda name, edge: virtual_findings()["known"][name][str(edge)]
    return findings.of_one


@pytest.fixture
def generated_verdict(clock: str) -> Callable[[int, bool], findings.Verdict]:
    if clock == "virtual":
        every = {kind: virtual_findings()["generated"][kind] for kind in ("correct", "broken")}
        return lambda seed, broken: findings.Verdict(**every["broken" if broken else "correct"][seed])
    return findings.of_generated
