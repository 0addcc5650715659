"""The threads of a system, and what they do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from .events import InteractionEventMixin, ThreadEventMixin
from .gate import Gate
from .trainers import TrainersDict

__all__ = ["Job", "TrainingJob", "Worker"]


class Job(Protocol):
    """What a worker repeats. An `Interaction` is one."""

    def setup(self) -> None: ...
    def step(self) -> None: ...
    def teardown(self) -> None: ...
    def on_paused(self) -> None: ...
    def on_resumed(self) -> None: ...


class TrainingJob(InteractionEventMixin, ThreadEventMixin):
    """Runs the trainers in turn.

    Args:
        trainers: By name; none at all is allowed.
        gate: Tells when data came.
        idle_wait: After a round in which none could train, wait for data, but at most that many seconds: a trainer
            may have conditions of its own.
    """

    def __init__(self, trainers: TrainersDict, gate: Gate, idle_wait: float) -> None:
        self._trainers = trainers
        self._gate = gate
        self._idle_wait = idle_wait
        self._order = list(trainers.values())
        self._next = 0
        self._fruitless = 0  # trainers in a row that could not train
        self._seen = 0  # news before the first of them

    def step(self) -> None:
        """Runs one trainer."""
        if not self._order:
            self._gate.wait_for_news(self._gate.news, None)
            return
        if self._fruitless == 0:
            self._seen = self._gate.news
        trainer = self._order[self._next]
        self._next = (self._next + 1) % len(self._order)
        self._fruitless = 0 if trainer.run() else self._fruitless + 1
        if self._fruitless == len(self._order):
            self._fruitless = 0
            self._gate.wait_for_news(self._seen, self._idle_wait)

    def on_paused(self) -> None:
        self._trainers.on_paused()

    def on_resumed(self) -> None:
        self._trainers.on_resumed()


class Worker(threading.Thread):
    """Repeats a job until the gate ends it. Whatever goes wrong is handed to the gate."""

    def __init__(self, name: str, job: Job, gate: Gate) -> None:
        super().__init__(name=f"storm-{name}")
        self._job = job
        self._gate = gate
        self._label = name

    def start(self) -> None:
        self._gate.enter(self, self._label)
        try:
            super().start()
        except BaseException:
            self._gate.leave(self)
            raise

    def run(self) -> None:
        try:
            self._guard(self._repeat)
            self._guard(self._job.teardown)
        finally:
            self._gate.leave(self)

    def _repeat(self) -> None:
        self._job.setup()
        while self._gate.proceed(self._job):
            self._job.step()

    def _guard(self, part: Callable[[], None]) -> None:
        try:
            part()
        except BaseException as error:  # handed on, never swallowed: the system raises it
            self._gate.fail(error)
