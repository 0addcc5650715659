"""A trainer whose optimizers last, with a state that continues exactly."""

from __future__ import annotations

import json
from abc import abstractmethod
from contextlib import ExitStack
from pathlib import Path
from threading import RLock, local
from typing import Any, TypeVar, cast

from torch import nn
from torch.optim import Optimizer

from pamiq_storm.atomic import write_atomically

from . import files
from .bases import Trainer, TrainingModel
from .model import TorchTrainingModel
from .optimizers import (
    LRSchedulersDict,
    OptimizersDict,
    OptimizersSetup,
    StateDict,
    States,
    check_names,
    restore,
    unpack,
)

__all__ = ["LRSchedulersDict", "OptimizersDict", "OptimizersSetup", "StateDict", "TorchTrainer"]

T = TypeVar("T", bound=nn.Module)

_OPTIMIZER, _SCHEDULER, _COUNTS = ".optim.pt", ".lrsch.pt", "counts.json"


class TorchTrainer(Trainer):
    """Override `create_optimizers` and `train`.

    Optimizers and schedulers are made before the first training and stay the same objects as long as the parameters
    of the retrieved models do. While `run` runs it holds the step lock of each model that was retrieved before it, in
    one order for all trainers, so that a save beside it sees the state between two runs.

    Args:
        training_condition_data_user: The data user that decides whether to train; None trains always.
        min_buffer_size: How many data it must hold.
        min_new_data_count: How many of them must be newer than the last training.
    """

    def __init__(
        self,
        training_condition_data_user: str | None = None,
        min_buffer_size: int = 0,
        min_new_data_count: int = 0,
    ) -> None:
        super().__init__(training_condition_data_user, min_buffer_size, min_new_data_count)
        self.optimizers: OptimizersDict = {}
        self.lr_schedulers: LRSchedulersDict = {}
        self.steps = 0
        """Steps of all optimizers together, over restarts."""
        self.runs = 0
        """Trainings, over restarts."""
        self._run_lock = RLock()  # guards all of the trainer's state; held while it runs
        self._parameters: list[nn.Parameter] | None = None  # what the optimizers were made for
        self._loaded: States | None = None  # waits for the optimizers
        self._this_thread = local()  # .held: the step locks of the run under way in it

    def get_torch_training_model(
        self,
        name: str,
        module_cls: type[T] = nn.Module,  # type: ignore[assignment]
    ) -> TorchTrainingModel[T]:
        """The model of that name, synced after each training.

        Raises:
            KeyError: There is none.
            TypeError: It is no `TorchTrainingModel`, or its module is no `module_cls`.
        """
        model = self.get_training_model(name)
        if not isinstance(model, TorchTrainingModel):
            raise TypeError(f"model {name!r} is a {type(model).__name__}, not a TorchTrainingModel")
        if not isinstance(model.model, module_cls):
            found = type(model.model).__name__
            raise TypeError(f"the module of model {name!r} is a {found}, not a {module_cls.__name__}")
        return cast("TorchTrainingModel[T]", model)

    def get_training_model(self, name: str) -> TrainingModel[Any]:
        """The model of that name, synced after each training. Best called in `on_training_models_attached`."""
        model = super().get_training_model(name)
        held = getattr(self._this_thread, "held", None)
        if held is not None and isinstance(model, TorchTrainingModel):
            held.enter_context(model.step_lock)  # retrieved in mid-run
        return model

    @abstractmethod
    def create_optimizers(self) -> OptimizersSetup:
        """Makes optimizers by name, or a tuple of optimizers and schedulers, each by name."""

    @property
    def optimizer_states(self) -> dict[str, StateDict]:
        """State dicts by name: as loaded until `setup` takes them over, then as they are now."""
        with self._run_lock:
            return self._states().optimizers

    @property
    def lr_scheduler_states(self) -> dict[str, StateDict]:
        """State dicts by name: as loaded until `setup` takes them over, then as they are now."""
        with self._run_lock:
            return self._states().schedulers

    def reset_optimizers(self) -> None:
        """Forgets optimizers, schedulers and their states; the next `setup` makes new ones."""
        with self._run_lock:
            self.optimizers.clear()
            self.lr_schedulers.clear()
            self._parameters = self._loaded = None

    def run(self) -> bool:
        """Trains once if the data suffice; returns whether it did."""
        with self._run_lock, ExitStack() as held:
            for model in self._torch_models():
                held.enter_context(model.step_lock)
            self._this_thread.held = held
            try:
                trained = super().run()
            finally:
                del self._this_thread.held
            self.runs += trained
            return trained

    def setup(self) -> None:
        """Makes the optimizers, if there are none for these parameters, and hands them what was loaded.

        Raises:
            ValueError: States do not fit; the message says which. Nothing has changed then.
        """
        super().setup()
        with self._run_lock:
            if not self._are_for(self._model_parameters()):
                self._make_optimizers()
            elif self._loaded is not None:
                restore(self._loaded, self.optimizers, self.lr_schedulers)
            self._loaded = None

    def save_state(self, path: Path) -> None:
        """Writes the new folder `path`. Training waits only while states are copied to host memory."""
        with self._run_lock:
            super().save_state(path)
            now = self._states()
            optimizers, schedulers = files.host_copy((now.optimizers, now.schedulers))
            counts = {"steps": self.steps, "runs": self.runs}
        for name, state in optimizers.items():
            files.save(state, path / f"{name}{_OPTIMIZER}")
        for name, state in schedulers.items():
            files.save(state, path / f"{name}{_SCHEDULER}")
        write_atomically(path / _COUNTS, json.dumps(counts).encode())

    def load_state(self, path: Path) -> None:
        """Reads what `save_state` wrote, or pamiq_core's trainer. The states reach the optimizers with `setup`.

        Raises:
            ValueError: `path` is no folder, or its optimizers and schedulers have other names; nothing has changed.
        """
        if not path.is_dir():
            raise ValueError(f"there is no checkpoint folder {path}")
        states = States(f"checkpoint {path}", _load_all(path, _OPTIMIZER), _load_all(path, _SCHEDULER))
        counts = {"steps": 0, "runs": 0}
        if (path / _COUNTS).exists():
            counts = json.loads((path / _COUNTS).read_text())
        untrained = not states.optimizers and not states.schedulers and counts["runs"] == 0
        with self._run_lock:
            if self._parameters is not None and not untrained:
                check_names(states, self.optimizers, self.lr_schedulers)
            super().load_state(path)
            if untrained:
                self.reset_optimizers()
            else:
                self._loaded = states
            self.steps, self.runs = counts["steps"], counts["runs"]

    def _states(self) -> States:
        return self._loaded or States.of("the trainer", self.optimizers, self.lr_schedulers)

    def _make_optimizers(self) -> None:
        optimizers, schedulers = unpack(self.create_optimizers())
        if self._loaded is not None or self._parameters is not None:
            restore(self._states(), optimizers, schedulers)
        self.optimizers.clear()
        self.optimizers.update(optimizers)
        self.lr_schedulers.clear()
        self.lr_schedulers.update(schedulers)
        for optimizer in optimizers.values():
            optimizer.register_step_post_hook(self._count_step)
        self._parameters = self._model_parameters()  # after create_optimizers, which may have retrieved models

    def _count_step(self, _optimizer: Optimizer, _args: Any, _kwds: Any) -> None:
        self.steps += 1

    def _torch_models(self) -> list[TorchTrainingModel[Any]]:
        """The retrieved ones, each once, in an order that is the same for all trainers."""
        models = [self._training_models[name] for name in sorted(self._retrieved_model_names)]
        return sorted({id(m): m for m in models if isinstance(m, TorchTrainingModel)}.values(), key=id)

    def _model_parameters(self) -> list[nn.Parameter]:
        return [parameter for model in self._torch_models() for parameter in model.model.parameters()]

    def _are_for(self, parameters: list[nn.Parameter]) -> bool:
        made_for = self._parameters
        if made_for is None or len(made_for) != len(parameters):
            return False
        return all(one is other for one, other in zip(made_for, parameters, strict=True))


def _load_all(path: Path, suffix: str) -> dict[str, StateDict]:
    return {file.name.removesuffix(suffix): files.load(file) for file in sorted(path.glob(f"*{suffix}"))}
