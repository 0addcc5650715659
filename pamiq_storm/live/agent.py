"""What decides."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from .data import DataCollector
from .data_dicts import DataCollectorsDict
from .events import InteractionEventMixin, ThreadEventMixin
from .model import InferenceModel
from .models import InferenceModelsDict
from .persistence import PersistentStateMixin

O = TypeVar("O")  # noqa: E741 (the name of the type of observations in pamiq_core)
A = TypeVar("A")


class Agent(ABC, InteractionEventMixin, PersistentStateMixin, ThreadEventMixin, Generic[O, A]):
    """Turns observations into actions. Whatever reaches an agent reaches its children too.

    Args:
        agents: The children, by name.
    """

    _inference_models: InferenceModelsDict
    _data_collectors: DataCollectorsDict

    def __init__(self, agents: Mapping[str, Agent[Any, Any]] | None = None) -> None:
        super().__init__()
        self._agents: dict[str, Agent[Any, Any]] = dict(agents or {})

    @abstractmethod
    def step(self, observation: O) -> A:
        """The action that answers an observation."""

    def attach_inference_models(self, inference_models: InferenceModelsDict) -> None:
        """Called by the system, before anything runs."""
        self._inference_models = inference_models
        self.on_inference_models_attached()
        for agent in self._agents.values():
            agent.attach_inference_models(inference_models)

    def on_inference_models_attached(self) -> None:
        """The place for `get_inference_model`."""

    def attach_data_collectors(self, data_collectors: DataCollectorsDict) -> None:
        """Called by the system, before anything runs."""
        self._data_collectors = data_collectors
        self.on_data_collectors_attached()
        for agent in self._agents.values():
            agent.attach_data_collectors(data_collectors)

    def on_data_collectors_attached(self) -> None:
        """The place for `get_data_collector`."""

    def get_inference_model(self, name: str) -> InferenceModel:
        """The inference model of that name; KeyError if there is none."""
        return self._inference_models[name]

    def get_data_collector(self, name: str) -> DataCollector[Any]:
        """The collector of that name, for this agent alone; KeyError if there is none or someone has it."""
        return self._data_collectors.acquire(name)

    def setup(self) -> None:
        super().setup()
        for agent in self._agents.values():
            agent.setup()

    def teardown(self) -> None:
        super().teardown()
        for agent in self._agents.values():
            agent.teardown()

    def save_state(self, path: Path) -> None:
        """Saves the children under their names in the folder `path`; without children there is nothing to save."""
        super().save_state(path)
        if not self._agents:
            return
        path.mkdir(exist_ok=True)
        for name, agent in self._agents.items():
            agent.save_state(path / name)

    def load_state(self, path: Path) -> None:
        super().load_state(path)
        for name, agent in self._agents.items():
            agent.load_state(path / name)

    def on_paused(self) -> None:
        super().on_paused()
        for agent in self._agents.values():
            agent.on_paused()

    def on_resumed(self) -> None:
        super().on_resumed()
        for agent in self._agents.values():
            agent.on_resumed()
