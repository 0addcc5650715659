"""Stands in for pamiq_storm.torch.model where that is not there."""

from __future__ import annotations

import copy
import importlib.util
import sys
import threading
import types
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from pamiq_storm.torch import files
from pamiq_storm.torch.bases import InferenceModel, TrainingModel

T = TypeVar("T", bound=nn.Module)


class TorchInferenceModel(InferenceModel, Generic[T]):
    def __init__(self, module: T) -> None:
        self.module = module

    @property
    def module_class(self) -> type[nn.Module]:
        return type(self.module)

    def infer(self, *args: Any) -> Any:
        with torch.inference_mode():
            return self.module(*args)


class TorchTrainingModel(TrainingModel[TorchInferenceModel[T]], Generic[T]):
    def __init__(self, model: T, has_inference_model: bool = True, inference_thread_only: bool = False) -> None:
        super().__init__(has_inference_model, inference_thread_only)
        self.model = model
        self.step_lock = threading.RLock()

    def _create_inference_model(self) -> TorchInferenceModel[T]:
        return TorchInferenceModel(copy.deepcopy(self.model))

    def sync_impl(self, inference_model: TorchInferenceModel[T]) -> None:
        inference_model.module.load_state_dict(self.model.state_dict())

    def forward(self, *args: Any) -> Any:
        return self.model(*args)

    def save_state(self, path: Path) -> None:
        with self.step_lock:
            state = files.host_copy(self.model.state_dict())
        files.save(state, Path(f"{path}.pt"))

    def load_state(self, path: Path) -> None:
        self.model.load_state_dict(files.load(Path(f"{path}.pt")))


if importlib.util.find_spec("pamiq_storm.torch.model") is None:
    module = types.ModuleType("pamiq_storm.torch.model")
    module.__dict__.update(TorchInferenceModel=TorchInferenceModel, TorchTrainingModel=TorchTrainingModel)
    sys.modules["pamiq_storm.torch.model"] = module
