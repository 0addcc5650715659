"""Agents, environments, and the rate at which they meet."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pamiq_storm.live import (
    Agent,
    DataCollectorsDict,
    FixedIntervalInteraction,
    InferenceModelsDict,
    Interaction,
    IntervalAdjustor,
    SleepIntervalAdjustor,
)

from .parts import PATIENCE_S, NumberInference, World


class Child(Agent[int, int]):
    """Tells what it hears, and passes it on."""

    def __init__(self, agents: dict[str, Agent[Any, Any]] | None = None) -> None:
        super().__init__(agents)
        self.heard: list[str] = []
        self.saved = ""

    def step(self, observation: int) -> int:
        return observation + 1

    def on_inference_models_attached(self) -> None:
        self.heard.append(f"models {self.get_inference_model('number')()}")

    def on_data_collectors_attached(self) -> None:
        self.heard.append("collectors")

    def setup(self) -> None:
        super().setup()
        self.heard.append("setup")

    def teardown(self) -> None:
        super().teardown()
        self.heard.append("teardown")

    def on_paused(self) -> None:
        super().on_paused()
        self.heard.append("paused")

    def on_resumed(self) -> None:
        super().on_resumed()
        self.heard.append("resumed")

    def save_state(self, path: Path) -> None:
        super().save_state(path)
        path.with_suffix(".txt").write_text(path.name)

    def load_state(self, path: Path) -> None:
        super().load_state(path)
        self.saved = path.with_suffix(".txt").read_text()


def test_whatever_reaches_an_agent_reaches_its_children() -> None:
    child = Child()
    parent = Child({"child": child})
    parent.attach_inference_models(InferenceModelsDict(number=NumberInference(3)))
    parent.attach_data_collectors(DataCollectorsDict())
    interaction = Interaction(parent, World())
    interaction.setup()
    interaction.on_paused()
    interaction.on_resumed()
    interaction.teardown()
    assert child.heard == parent.heard
    assert child.heard == ["models 3", "collectors", "setup", "paused", "resumed", "teardown"]


def test_children_are_saved_with_their_parent(tmp_path: Path) -> None:
    Interaction(Child({"child": Child()}), World()).save_state(tmp_path / "saved")
    child = Child()
    parent = Child({"child": child})
    Interaction(parent, World()).load_state(tmp_path / "saved")
    assert (parent.saved, child.saved) == ("agent", "child")


def test_a_step_observes_decides_and_acts() -> None:
    world = World()
    Interaction(Child(), world).step()
    assert world.actions == [2]


class Clockwork:
    """`perf_counter` and waits without real time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def adjustor(self, interval: float, offset: float = 0.0, overshoot: float = 0.0) -> IntervalAdjustor:
        clockwork = self

        class Adjustor(IntervalAdjustor):
            def adjust_impl(self) -> None:
                clockwork.now = max(clockwork.now, self._last_reset_time + self._time_to_wait + overshoot)

        made = Adjustor(interval, offset)
        made.reset()
        return made


def test_waking_late_does_not_make_the_rate_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    clockwork = Clockwork(monkeypatch)
    adjustor = clockwork.adjustor(1.0, overshoot=0.25)
    beats = []
    for _ in range(1000):
        adjustor.adjust()
        beats.append(clockwork.now - 100)
    assert beats == [beat + 1.25 for beat in range(1000)]


def test_missed_beats_are_skipped_and_the_grid_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    clockwork = Clockwork(monkeypatch)
    adjustor = clockwork.adjustor(1.0)
    clockwork.now += 3.5
    assert adjustor.adjust() == 3.5
    assert adjustor.adjust() == 0.5
    assert adjustor.adjust() == 1.0
    assert clockwork.now == 105.0


def test_the_offset_brings_only_the_first_beat_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    adjustor = Clockwork(monkeypatch).adjustor(1.0, offset=0.25)
    assert [adjustor.adjust() for _ in range(3)] == [0.75, 1.0, 1.0]


def test_a_negative_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0, got -1"):
        SleepIntervalAdjustor(-1)


def test_sleeping_keeps_the_rate_in_real_time() -> None:
    world = World()
    interaction = FixedIntervalInteraction.with_sleep_adjustor(Child(), world, 0.01)
    interaction.setup()
    start = time.perf_counter()
    for _ in range(20):
        interaction.step()
    assert time.perf_counter() - start >= 0.2
    assert len(world.actions) == 20


def test_an_interrupted_wait_is_finished_before_the_next_action() -> None:
    world = World()
    interaction = FixedIntervalInteraction.with_sleep_adjustor(Child(), world, PATIENCE_S * 10)
    interaction.setup()
    start = time.monotonic()
    for _ in range(3):
        interaction.interrupt()  # found by the wait that follows
        interaction.step()
    assert time.monotonic() - start < PATIENCE_S
    assert len(world.actions) == 1, "the second beat was not due"


def test_a_wait_under_way_is_interrupted_from_another_thread() -> None:
    interaction = FixedIntervalInteraction.with_sleep_adjustor(Child(), World(), PATIENCE_S * 10)
    interaction.setup()
    thread = threading.Thread(target=interaction.step)
    thread.start()
    interaction.interrupt()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
