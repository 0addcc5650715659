"""How the offload suite measures a device that takes real time, as a GPU does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from pamiq_storm.bench import offload as suite
from pamiq_storm.bench.hardware import Link, SimulatedHardware, Traffic
from pamiq_storm.bench.offload import plan, real, schedule
from pamiq_storm.bench.offload.compiled import CompiledArm
from pamiq_storm.bench.offload.device import HostClock
from pamiq_storm.bench.offload.plan import Selection
from pamiq_storm.bench.offload.samples import AS_IS, Job, Sample
from pamiq_storm.bench.offload.steps import Step

STEP = Step(100, 30, 60, 5, Traffic(0, 0), 1000, 2000, 0, None)
JOB = Job("W1", (), ("none", "trl"), "cuda", quick=True)


def nothing() -> None:
    return None


def test_an_arm_whose_process_fails_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(jobs: list[Job]) -> list[Sample]:
        if jobs[0].arms == ("trl",):
            raise RuntimeError("measuring W1 failed: it broke")
        return [Sample("W1", "a GPU", AS_IS, jobs[0].arms[0], (STEP,), Link(1e9, 1e9), fits=True)]

    monkeypatch.setattr(schedule, "run", run)
    none, trl = schedule.in_turns([JOB], 2, nothing)
    assert none.steps == (STEP, STEP)
    assert (trl.steps, trl.profile, trl.note) == ((), "a GPU", "failed: measuring W1 failed: it broke")
    found = suite._results("cuda", [JOB], [none, trl], quick=True)
    assert found.facts["failed"] == ["W1, trl"]
    with pytest.raises(RuntimeError, match="it broke"):
        schedule.in_turns([Job("W1", (), ("trl",), "cuda", quick=True)], 1, nothing)


def test_one_round_that_did_not_fit_is_not_hidden_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = Sample("W1", "a GPU", AS_IS, "none", (STEP,), Link(1e9, 1e9), fits=True)
    does_not = Sample("W1", "a GPU", AS_IS, "none", fits=False, note="does not fit")
    for order in ([fits, does_not], [does_not, fits]):
        samples = iter(order)
        monkeypatch.setattr(schedule, "run", lambda jobs, samples=samples: [next(samples)])
        assert schedule.in_turns([Job("W1", (), ("none",), "cuda", quick=True)], 2, nothing) == [does_not]


def test_long_steps_are_repeated_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = iter(range(0, 10**6, 3600))
    assert len(real._repeated(5, lambda: STEP)) == 5
    monkeypatch.setattr(real.time, "perf_counter", lambda: next(hours))
    assert len(real._repeated(5, lambda: STEP)) == real.LEAST
    assert len(real._repeated(1, lambda: STEP)) == 1


def test_bits_are_taken_under_deterministic_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def digest(_arm: Any, _training: Any) -> str:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return "bits"

    monkeypatch.setattr(real, "digest", digest)
    arm: Any = object()
    assert real._bits(arm, arm) == "bits"
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()  # nobody times those
    assert real._bits(CompiledArm.__new__(CompiledArm), arm) is None


@pytest.fixture
def instrument(device: str) -> Iterator[HostClock]:
    if device != "sim":
        pytest.skip("takes the simulator for a device of its own clock")
    hardware = SimulatedHardware(Link(2e9, 2e9))
    yield HostClock(hardware)
    hardware.limit_memory(1 << 30)


def test_pinned_memory_of_which_torch_knows_nothing_is_counted(
    instrument: HostClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimulatedHardware, "peak_pinned_bytes", lambda _: 0)
    job = Job("W3", (), ("none", "storm"), "threads", quick=True)
    none, storm = (real._measure(job, arm, instrument, "p") for arm in job.arms)
    assert {step.peak_pinned_bytes for step in none.steps} == {0}
    assert all(step.peak_pinned_bytes >= step.traffic.d2h > 0 for step in storm.steps)


def test_rounds_are_for_a_real_device() -> None:
    with pytest.raises(RuntimeError, match="--rounds 2 is for a real device"):
        plan.jobs("virtual", True, Selection(rounds=2))
    with pytest.raises(RuntimeError, match="--rounds 0: at least one is needed"):
        plan.jobs("cuda", True, Selection(rounds=0))
