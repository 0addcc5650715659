"""The trainers of a system, by name, in the order in which they run."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from .data_dicts import DataUsersDict
from .events import ThreadEventMixin
from .models import TrainingModelsDict
from .persistence import PersistentStateMixin
from .trainer import Trainer


class TrainersDict(OrderedDict[str, Trainer], PersistentStateMixin, ThreadEventMixin):
    """Passes on to every trainer what concerns all."""

    def attach_training_models(self, training_models: TrainingModelsDict) -> None:
        for trainer in self.values():
            trainer.attach_training_models(training_models)

    def attach_data_users(self, data_users: DataUsersDict) -> None:
        for trainer in self.values():
            trainer.attach_data_users(data_users)

    def save_state(self, path: Path) -> None:
        """Saves every trainer under its name in the new folder `path`."""
        path.mkdir()
        for name, trainer in self.items():
            trainer.save_state(path / name)

    def load_state(self, path: Path) -> None:
        for name, trainer in self.items():
            trainer.load_state(path / name)

    def on_paused(self) -> None:
        super().on_paused()
        for trainer in self.values():
            trainer.on_paused()

    def on_resumed(self) -> None:
        super().on_resumed()
        for trainer in self.values():
            trainer.on_resumed()
