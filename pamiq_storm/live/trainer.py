"""What trains models, again and again, in the training thread."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from pamiq_storm.atomic import write_atomically

from .data import DataUser
from .data_dicts import DataUsersDict
from .events import ThreadEventMixin
from .model import TrainingModel
from .models import TrainingModelsDict
from .persistence import PersistentStateMixin


class Trainer(ABC, PersistentStateMixin, ThreadEventMixin):
    """Override `train`, and retrieve models and data in `on_training_models_attached` and `on_data_users_attached`.

    Args:
        training_condition_data_user: The data user that decides whether to train; None trains always.
        min_buffer_size: How many data it must hold.
        min_new_data_count: How many of them must be newer than the last training.
    """

    _training_models: TrainingModelsDict
    _data_users: DataUsersDict

    def __init__(
        self,
        training_condition_data_user: str | None = None,
        min_buffer_size: int = 0,
        min_new_data_count: int = 0,
    ) -> None:
        super().__init__()
        self._retrieved_model_names: set[str] = set()
        self._training_condition_data_user = training_condition_data_user
        self._min_buffer_size = min_buffer_size
        self._min_new_data_count = min_new_data_count
        self._previous_training_time = -math.inf

    def attach_training_models(self, training_models: TrainingModelsDict) -> None:
        """Called by the system, before anything runs."""
        self._training_models = training_models
        self.on_training_models_attached()

    def on_training_models_attached(self) -> None:
        """The place for `get_training_model`."""

    def attach_data_users(self, data_users: DataUsersDict) -> None:
        """Called by the system, before anything runs."""
        self._data_users = data_users
        self.on_data_users_attached()

    def on_data_users_attached(self) -> None:
        """The place for `get_data_user`."""

    def get_training_model(self, name: str) -> TrainingModel[Any]:
        """The model of that name; from now on it is synced after each training."""
        model = self._training_models[name]
        self._retrieved_model_names.add(name)
        return model

    def get_data_user(self, name: str) -> DataUser[Any]:
        """The data user of that name."""
        return self._data_users[name]

    def is_trainable(self) -> bool:
        """Whether the data suffice; if so, those seen now do not count as new next time."""
        if self._training_condition_data_user is None:
            return True
        user = self.get_data_user(self._training_condition_data_user)
        user.update()
        if len(user) < self._min_buffer_size:
            return False
        if user.count_data_added_since(self._previous_training_time) < self._min_new_data_count:
            return False
        self._previous_training_time = user.updated_at
        return True

    def setup(self) -> None:
        """Called before each training."""

    @abstractmethod
    def train(self) -> None:
        """Trains; the retrieved models are synced afterwards."""

    def sync_models(self) -> None:
        """Brings the inference models of all retrieved models up to date."""
        for name in self._retrieved_model_names:
            self._training_models[name].sync()

    def teardown(self) -> None:
        """Called after each training."""

    def run(self) -> bool:
        """Trains once if the data suffice; returns whether it did."""
        if not self.is_trainable():
            return False
        self.setup()
        self.train()
        self.sync_models()
        self.teardown()
        return True

    def save_state(self, path: Path) -> None:
        """Writes the time of the last training into the new folder `path`."""
        path.mkdir()
        write_atomically(path / "previous_training_time", str(self._previous_training_time).encode())

    def load_state(self, path: Path) -> None:
        self._previous_training_time = float((path / "previous_training_time").read_text("utf-8"))
