"""Small parts of a system for tests: integers in place of tensors."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from pamiq_storm.live import (
    Agent,
    Environment,
    InferenceModel,
    Interaction,
    SequentialBuffer,
    Trainer,
    TrainingModel,
)

PATIENCE_S = 20.0
"""Longer than anything here takes, on the slowest machine."""


class NumberInference(InferenceModel):
    def __init__(self, number: int) -> None:
        self.number = number

    def infer(self) -> int:
        return self.number


class NumberModel(TrainingModel[NumberInference]):
    def __init__(self, has_inference_model: bool = True, inference_thread_only: bool = False) -> None:
        super().__init__(has_inference_model, inference_thread_only)
        self.number = 0
        self.made = 0

    def _create_inference_model(self) -> NumberInference:
        self.made += 1
        return NumberInference(self.number)

    def forward(self, addend: int) -> int:
        return self.number + addend

    def sync_impl(self, inference_model: NumberInference) -> None:
        inference_model.number = self.number

    def save_state(self, path: Path) -> None:
        path.write_text(str(self.number))

    def load_state(self, path: Path) -> None:
        self.number = int(path.read_text())


class Counter(Agent[int, int]):
    """Collects every observation and counts its steps, across restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.events: list[str] = []

    def on_inference_models_attached(self) -> None:
        self.model = self.get_inference_model("number")

    def on_data_collectors_attached(self) -> None:
        self.collector = self.get_data_collector("seen")

    def step(self, observation: int) -> int:
        self.steps += 1
        self.collector.collect(observation)
        return self.model()

    def setup(self) -> None:
        self.events.append("setup")

    def teardown(self) -> None:
        self.events.append("teardown")

    def on_paused(self) -> None:
        self.events.append("paused")

    def on_resumed(self) -> None:
        self.events.append("resumed")

    def save_state(self, path: Path) -> None:
        path.write_text(str(self.steps))

    def load_state(self, path: Path) -> None:
        self.steps = int(path.read_text())


class World(Environment[int, int]):
    """Counts; `at` calls something at a given observation."""

    def __init__(self, at: dict[int, Callable[[], None]] | None = None) -> None:
        self.now = 0
        self.at = at or {}
        self.actions: list[int] = []
        self.affected = threading.Event()

    def observe(self) -> int:
        self.now += 1
        self.at.get(self.now, lambda: None)()
        return self.now

    def affect(self, action: int) -> None:
        self.actions.append(action)
        self.affected.set()


class Adder(Trainer):
    """Each training adds one to the model."""

    def __init__(self, condition: str | None = None, new: int = 0, at: dict[int, Callable[[], None]] | None = None):
        super().__init__(condition, 0, new)
        self.trainings = 0
        self.at = at or {}
        self.trained = threading.Event()
        self.events: list[str] = []

    def on_training_models_attached(self) -> None:
        self.model = self.get_training_model("number")

    def train(self) -> None:
        self.trainings += 1
        self.at.get(self.trainings, lambda: None)()
        self.model.number += 1
        self.trained.set()

    def on_paused(self) -> None:
        self.events.append("paused")

    def on_resumed(self) -> None:
        self.events.append("resumed")


class Parts:
    """One of each, ready for `launch`."""

    def __init__(
        self,
        world: World | None = None,
        trainer: Adder | None = None,
        interaction: Callable[[Agent[int, int], Environment[int, int]], Interaction[int, int]] = Interaction,
    ) -> None:
        self.agent = Counter()
        self.world = world or World()
        self.trainer = trainer or Adder()
        self.model = NumberModel()
        self.interaction = interaction(self.agent, self.world)

    def __iter__(self):
        yield self.interaction
        yield {"number": self.model}
        yield {"seen": SequentialBuffer[int](1000)}
        yield {"adder": self.trainer}
