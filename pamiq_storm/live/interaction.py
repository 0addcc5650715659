"""An agent and its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, Self, TypeVar

from .agent import Agent
from .environment import Environment
from .events import InteractionEventMixin, ThreadEventMixin
from .intervals import IntervalAdjustor, SleepIntervalAdjustor
from .persistence import PersistentStateMixin

O = TypeVar("O")  # noqa: E741 (the name of the type of observations in pamiq_core)
A = TypeVar("A")


class Interaction(InteractionEventMixin, PersistentStateMixin, ThreadEventMixin, Generic[O, A]):
    """Observe, decide, act; as fast as these go."""

    def __init__(self, agent: Agent[O, A], environment: Environment[O, A]) -> None:
        self.agent = agent
        self.environment = environment

    def step(self) -> None:
        """Once round the loop."""
        observation = self.environment.observe()
        action = self.agent.step(observation)
        self.environment.affect(action)

    def setup(self) -> None:
        super().setup()
        self.agent.setup()
        self.environment.setup()

    def teardown(self) -> None:
        super().teardown()
        self.agent.teardown()
        self.environment.teardown()

    def save_state(self, path: Path) -> None:
        """Saves both in the new folder `path`."""
        path.mkdir()
        self.agent.save_state(path / "agent")
        self.environment.save_state(path / "environment")

    def load_state(self, path: Path) -> None:
        self.agent.load_state(path / "agent")
        self.environment.load_state(path / "environment")

    def on_paused(self) -> None:
        super().on_paused()
        self.agent.on_paused()
        self.environment.on_paused()

    def on_resumed(self) -> None:
        super().on_resumed()
        self.agent.on_resumed()
        self.environment.on_resumed()


class FixedIntervalInteraction(Interaction[O, A]):
    """Observe, decide, act at a steady rate."""

    def __init__(self, agent: Agent[O, A], environment: Environment[O, A], adjustor: IntervalAdjustor) -> None:
        super().__init__(agent, environment)
        self._adjustor = adjustor
        self._owes_wait = False

    def setup(self) -> None:
        super().setup()
        self._adjustor.reset()
        self._owes_wait = False

    def step(self) -> None:
        """Once round the loop, then waits for the next beat.

        A wait that was interrupted is finished by the next call, so that nothing acts before its beat.
        """
        if self._owes_wait and not self._waited_for_beat():
            return
        super().step()
        self._waited_for_beat()

    def interrupt(self) -> None:
        """From any thread: ends the wait for the beat, so that a pause or a stop need not sit it out."""
        self._adjustor.interrupt()

    def _waited_for_beat(self) -> bool:
        self._adjustor.adjust()
        self._owes_wait = self._adjustor.interrupted
        return not self._owes_wait

    @classmethod
    def with_sleep_adjustor(
        cls, agent: Agent[O, A], environment: Environment[O, A], interval: float, offset: float = 0.0
    ) -> Self:
        """With a `SleepIntervalAdjustor` of `interval` seconds."""
        return cls(agent, environment, SleepIntervalAdjustor(interval, offset))
