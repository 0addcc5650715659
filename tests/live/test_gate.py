"""Threads rest at step boundaries, wake, and end."""

import sys
import threading
from collections.abc import Iterator

import pytest

from pamiq_storm.live.gate import Gate, StoppedError
from pamiq_storm.live.worker import Worker

from .parts import PATIENCE_S


class Job:
    """Steps when it is let, and tells what it did."""

    def __init__(self) -> None:
        self.let = threading.Semaphore(0)
        self.stepping = threading.Semaphore(0)
        self.did: list[str] = []

    def setup(self) -> None:
        self.did.append("setup")

    def step(self) -> None:
        self.stepping.release()
        assert self.let.acquire(timeout=PATIENCE_S)
        self.did.append("step")

    def teardown(self) -> None:
        self.did.append("teardown")

    def on_paused(self) -> None:
        self.did.append("paused")

    def on_resumed(self) -> None:
        self.did.append("resumed")


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads take turns after every microsecond."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture
def job() -> Job:
    return Job()


@pytest.fixture
def worker(gate: Gate, job: Job) -> Iterator[Worker]:
    worker = Worker("patient", job, gate)
    worker.start()
    assert job.stepping.acquire(timeout=PATIENCE_S)
    yield worker
    gate.stop("test over")
    job.let.release(1000)
    worker.join(PATIENCE_S)
    assert not worker.is_alive()


def test_a_pause_waits_for_the_end_of_the_step(gate: Gate, job: Job, worker: Worker) -> None:
    returned = threading.Event()
    thread = threading.Thread(target=lambda: (gate.pause(None), returned.set()))
    thread.start()
    assert not returned.wait(0.05)
    job.let.release()
    assert returned.wait(PATIENCE_S)
    assert job.did == ["setup", "step", "paused"]
    gate.resume()
    assert job.stepping.acquire(timeout=PATIENCE_S)
    assert job.did == ["setup", "step", "paused", "resumed"]


def test_a_pause_that_takes_too_long_names_the_busy_thread_and_is_taken_back(
    gate: Gate, job: Job, worker: Worker
) -> None:
    with pytest.raises(TimeoutError, match=r"within 0.01 s no step boundary came in 'patient'"):
        gate.pause(0.01)
    assert not gate.paused
    job.let.release()
    assert job.stepping.acquire(timeout=PATIENCE_S), "it goes on"


def test_a_hold_inside_a_pause_does_not_end_it(gate: Gate, job: Job, worker: Worker) -> None:
    job.let.release()
    gate.pause(PATIENCE_S)
    with gate.hold():
        pass
    assert not job.stepping.acquire(timeout=0.05)
    gate.resume()
    assert job.stepping.acquire(timeout=PATIENCE_S)


def test_a_hold_outlasts_a_resume_and_a_stop(gate: Gate, job: Job, worker: Worker) -> None:
    job.let.release()
    with gate.hold():
        gate.resume()
        gate.stop("enough")
        worker.join(0.05)
        assert worker.is_alive()
        assert job.did[-1] == "paused"
    worker.join(PATIENCE_S)
    assert job.did[-2:] == ["resumed", "teardown"]
    assert gate.stop_reason == "enough"


def test_a_stop_wakes_whoever_rests(gate: Gate, job: Job, worker: Worker) -> None:
    job.let.release()
    gate.pause(PATIENCE_S)
    gate.stop("enough")
    worker.join(PATIENCE_S)
    assert job.did == ["setup", "step", "paused", "resumed", "teardown"]
    with pytest.raises(StoppedError):
        gate.pause(PATIENCE_S)


def test_a_worker_cannot_wait_for_itself(gate: Gate) -> None:
    class Confused(Job):
        def step(self) -> None:
            gate.pause(None)

    worker = Worker("confused", Confused(), gate)
    worker.start()
    worker.join(PATIENCE_S)
    (error,) = gate.errors
    assert isinstance(error, RuntimeError)
    assert "the confused thread cannot pause" in str(error)


def test_nothing_is_held_after_a_failure(gate: Gate) -> None:
    gate.fail(ValueError("broken"))
    with pytest.raises(StoppedError, match="half-way"), gate.hold():
        pytest.fail("state that may be torn was offered for saving")


def test_a_failure_in_a_step_and_one_in_teardown_are_both_kept(gate: Gate) -> None:
    class Broken(Job):
        def step(self) -> None:
            raise ValueError("step")

        def teardown(self) -> None:
            raise ValueError("teardown")

    worker = Worker("broken", Broken(), gate)
    worker.start()
    worker.join(PATIENCE_S)
    assert [str(error) for error in gate.errors] == ["step", "teardown"]


def test_news_that_came_before_the_wait_are_not_lost(gate: Gate) -> None:
    seen = gate.news
    gate.tell()
    gate.wait_for_news(seen, None)  # else the time limit of the tests ends it


@pytest.mark.parametrize("event", ["tell", "stop", "pause"])
def test_waiting_for_news_ends_with_news_a_stop_or_a_pause(gate: Gate, event: str) -> None:
    thread = threading.Thread(target=gate.wait_for_news, args=(gate.news, None))
    thread.start()
    {"tell": gate.tell, "stop": lambda: gate.stop("x"), "pause": lambda: gate.pause(0)}[event]()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_pauses_holds_and_resumes_from_many_threads_end_well(gate: Gate, eager_switches: None) -> None:
    class Quick(Job):
        def step(self) -> None:
            assert not resting
            steps.append(1)

        def on_paused(self) -> None: ...
        def on_resumed(self) -> None: ...

    resting: list[int] = []
    steps: list[int] = []
    workers = [Worker(f"quick{number}", Quick(), gate) for number in range(2)]
    for worker in workers:
        worker.start()

    def hold() -> None:
        for _ in range(100):
            with gate.hold():
                resting.append(1)
                before = len(steps)
                assert len(steps) == before
                resting.pop()

    def pause() -> None:
        for _ in range(100):
            gate.pause(PATIENCE_S)
            gate.resume()

    others = [threading.Thread(target=target) for target in (hold, hold, pause)]
    for thread in others:
        thread.start()
    for thread in others:
        thread.join(PATIENCE_S * 3)
        assert not thread.is_alive()
    gate.stop("over")
    for worker in workers:
        worker.join(PATIENCE_S)
        assert not worker.is_alive()
    assert gate.errors == []
    assert steps
