"""The models of a system, by name."""

from __future__ import annotations

from collections import UserDict
from pathlib import Path
from typing import Any

from .model import InferenceModel, TrainingModel
from .persistence import PersistentStateMixin


class InferenceModelsDict(UserDict[str, InferenceModel]):
    """What the inference thread may use."""

    def __missing__(self, key: str) -> InferenceModel:
        raise KeyError(f"there is no inference model {key!r}; there are: {', '.join(map(repr, self.data)) or 'none'}")


class TrainingModelsDict(UserDict[str, TrainingModel[Any]], PersistentStateMixin):
    """What the training thread may use, and the inference models that go with it."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self._inference_models_dict = InferenceModelsDict()
        super().__init__(*args, **kwds)

    @property
    def inference_models_dict(self) -> InferenceModelsDict:
        """The inference models, under the same names."""
        return self._inference_models_dict

    def __getitem__(self, key: str) -> TrainingModel[Any]:
        """The model of that name.

        Raises:
            KeyError: There is none, or only the inference thread may use it.
        """
        if key not in self.data:
            raise KeyError(f"there is no model {key!r}; there are: {', '.join(map(repr, self.data)) or 'none'}")
        model = self.data[key]
        if model.inference_thread_only:
            raise KeyError(f"model {key!r} was made with inference_thread_only=True: it cannot be trained")
        return model

    def __setitem__(self, key: str, model: TrainingModel[Any]) -> None:
        self.data[key] = model
        if model.has_inference_model:
            self._inference_models_dict[key] = model.inference_model
        else:
            self._inference_models_dict.pop(key, None)

    def __delitem__(self, key: str) -> None:
        del self.data[key]
        self._inference_models_dict.pop(key, None)

    def save_state(self, path: Path) -> None:
        """Saves every model under its name in the new folder `path`."""
        path.mkdir()
        for name, model in self.data.items():
            model.save_state(path / name)

    def load_state(self, path: Path) -> None:
        """Loads every model and brings its inference model up to date."""
        for name, model in self.data.items():
            model.load_state(path / name)
            model.sync()
