"""With pamiq_core installed: our classes derive from its bases and run inside its launch unchanged, and the other way.

This file stands alone: CI copies it to where no source of pamiq_storm is in sight and runs it against the wheel.
"""

from __future__ import annotations

import importlib.util
import inspect
import threading
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("pamiq_core") is None:
    pytest.skip(
        "pamiq_core is not installed (it needs Python 3.12): tools/cuda_check.sh runs this against the published one",
        allow_module_level=True,
    )

import pamiq_core
import pamiq_core.data
import pamiq_core.data.impls
import pamiq_core.interaction
import pamiq_core.model
import pamiq_core.state_persistence
import pamiq_core.thread
import pamiq_core.torch
import pamiq_core.trainer
import torch
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import ExponentialLR

import pamiq_storm.torch
from pamiq_storm import live
from pamiq_storm.torch.agent import TorchAgent
from pamiq_storm.torch.model import TorchInferenceModel, TorchTrainingModel
from pamiq_storm.torch.trainer import TorchTrainer

pytestmark = [
    pytest.mark.timeout(120),
    # pamiq_core.launch returns as if nothing had happened when one of its threads fails.
    pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning"),
]

Adam([nn.Parameter(torch.zeros(1))]).step()  # the first one imports for seconds, longer than a launch lasts here


class World(pamiq_core.Environment[torch.Tensor, torch.Tensor]):
    def __init__(self) -> None:
        self.actions: list[torch.Tensor] = []

    def observe(self) -> torch.Tensor:
        return torch.full((4,), 0.5)

    def affect(self, action: torch.Tensor) -> None:
        self.actions.append(action)


class Chooser(TorchAgent[torch.Tensor, torch.Tensor]):
    def on_inference_models_attached(self) -> None:
        self.net = self.get_torch_inference_model("net", nn.Sequential)

    def on_data_collectors_attached(self) -> None:
        self.collector = self.get_data_collector("seen")

    def step(self, observation: torch.Tensor) -> torch.Tensor:
        self.collector.collect(observation)
        return self.net(observation)


class Fitting:
    """What a trainer does, whichever class it derives from."""

    trained: threading.Event

    def on_training_models_attached(self: Any) -> None:
        self.net = self.get_torch_training_model("net", nn.Sequential)

    def create_optimizers(self: Any) -> Any:
        optimizer = Adam(self.net.model.parameters(), lr=0.01)
        return {"adam": optimizer}, {"decay": ExponentialLR(optimizer, 0.9)}

    def train(self: Any) -> None:
        loss = (self.net(torch.linspace(-1, 1, 8).reshape(2, 4)) - 1).square().mean()
        self.optimizers["adam"].zero_grad()
        loss.backward()
        self.optimizers["adam"].step()
        self.lr_schedulers["decay"].step()


class OurTrainer(Fitting, TorchTrainer): ...


class ItsTrainer(Fitting, pamiq_core.torch.TorchTrainer): ...


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


class Parts:
    """Ours where there is a choice, and pamiq_core's for the rest."""

    def __init__(self, seed: int = 0) -> None:
        self.world = World()
        self.model = TorchTrainingModel(net(seed))
        self.trainer = OurTrainer("seen", 1, 1)
        self.interaction = pamiq_core.FixedIntervalInteraction.with_sleep_adjustor(Chooser(), self.world, 0.01)

    def __iter__(self):
        yield self.interaction
        yield {"net": self.model}
        yield {"seen": pamiq_core.data.impls.SequentialBuffer[torch.Tensor](100)}
        yield {"fitting": self.trainer}

    def parameters(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self.model.model.parameters()]


def core_launch(parts: Parts, states: Path, **config: Any) -> Path:
    """Runs pamiq_core.launch for a second; returns the state that it saves at its end."""
    pamiq_core.launch(*parts, {"web_api_address": None, "max_uptime": 1.0, "states_dir": states, **config})
    return max(states.glob("*.state"))


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("ours", "base"),
    [
        (TorchTrainingModel, pamiq_core.TrainingModel),
        (TorchInferenceModel, pamiq_core.InferenceModel),
        (TorchTrainer, pamiq_core.Trainer),
        (TorchAgent, pamiq_core.Agent),
    ],
)
def test_our_classes_derive_from_its_bases(ours: type, base: type) -> None:
    assert issubclass(ours, base)


def test_ours_run_inside_its_launch_and_continue_from_its_checkpoint(tmp_path: Path) -> None:
    first = Parts()
    state = core_launch(first, tmp_path / "states")
    assert first.trainer.runs == first.trainer.steps > 0
    assert not torch.equal(first.world.actions[0], first.world.actions[-1]), "training reached the agent"

    second = Parts(seed=1)
    resumed: list[Any] = []
    original = OurTrainer.setup

    def setup(trainer: OurTrainer) -> None:
        resumed.append((trainer.runs, trainer.steps, second.parameters()))
        original(trainer)

    second.trainer.setup = setup.__get__(second.trainer)
    core_launch(second, tmp_path / "states", saved_state_path=state)
    runs, steps, parameters = resumed[0]
    assert (runs, steps) == (first.trainer.runs, first.trainer.steps)
    assert same(parameters, first.parameters())
    assert second.trainer.runs > first.trainer.runs
    assert torch.equal(second.world.actions[0], first.model.inference_model(torch.full((4,), 0.5))), "served at once"


def test_a_checkpoint_while_running_is_taken_inside_its_launch(tmp_path: Path) -> None:
    parts = Parts()
    condition = pamiq_core.state_persistence.PeriodicSaveCondition(0.2)
    core_launch(parts, tmp_path / "states", save_state_condition=condition)
    assert len(list((tmp_path / "states").glob("*.state"))) > 2
    assert parts.trainer.runs > 0


def attached(trainer: Any, model: Any) -> Any:
    trainer.attach_training_models(pamiq_core.model.TrainingModelsDict({"net": model}))
    return trainer


@pytest.mark.parametrize("writer", ["ours", "its"])
def test_either_trainer_continues_the_other_bit_for_bit(writer: str, tmp_path: Path) -> None:
    makers = {
        "ours": (lambda seed: attached(OurTrainer(), TorchTrainingModel(net(seed)))),
        "its": (lambda seed: attached(ItsTrainer(), pamiq_core.torch.TorchTrainingModel(net(seed)))),
    }
    reader = next(name for name in makers if name != writer)
    first = makers[writer](0)
    for _ in range(3):
        first.run()
    first.net.save_state(tmp_path / "net")
    first.save_state(tmp_path / "trainer")
    second = makers[reader](1)
    second.net.load_state(tmp_path / "net")
    second.load_state(tmp_path / "trainer")
    for trainer in (first, second):
        for _ in range(3):
            trainer.run()
    assert same(list(first.net.model.parameters()), list(second.net.model.parameters()))
    assert first.optimizers["adam"].param_groups[0]["lr"] == second.optimizers["adam"].param_groups[0]["lr"]


def test_our_launch_runs_its_classes_and_either_reads_the_others_checkpoint(tmp_path: Path) -> None:
    first = Parts()
    from_core = core_launch(first, tmp_path / "core")
    second = Parts(seed=1)
    result = live.launch(*second, {"max_uptime": 0.5, "saved_state_path": from_core, "states_dir": tmp_path / "ours"})
    assert result.resumed_from == from_core
    assert second.trainer.runs > first.trainer.runs
    third = Parts(seed=2)
    assert result.checkpoint is not None
    core_launch(third, tmp_path / "core", saved_state_path=result.checkpoint)
    assert third.trainer.runs > second.trainer.runs


PAIRS = [
    (live.Agent, pamiq_core.Agent),
    (live.DataBuffer, pamiq_core.DataBuffer),
    (live.DataCollector, pamiq_core.DataCollector),
    (live.DataCollectorsDict, pamiq_core.data.DataCollectorsDict),
    (live.DataUser, pamiq_core.DataUser),
    (live.DataUsersDict, pamiq_core.data.DataUsersDict),
    (live.Environment, pamiq_core.Environment),
    (live.FixedIntervalInteraction, pamiq_core.FixedIntervalInteraction),
    (live.InferenceModel, pamiq_core.InferenceModel),
    (live.InferenceModelsDict, pamiq_core.model.InferenceModelsDict),
    (live.Interaction, pamiq_core.Interaction),
    (live.IntervalAdjustor, pamiq_core.IntervalAdjustor),
    (live.PersistentStateMixin, pamiq_core.state_persistence.PersistentStateMixin),
    (live.SequentialBuffer, pamiq_core.data.impls.SequentialBuffer),
    (live.SleepIntervalAdjustor, pamiq_core.SleepIntervalAdjustor),
    (live.ThreadEventMixin, pamiq_core.thread.ThreadEventMixin),
    (live.Trainer, pamiq_core.Trainer),
    (live.TrainersDict, pamiq_core.trainer.TrainersDict),
    (live.TrainingModel, pamiq_core.TrainingModel),
    (live.TrainingModelsDict, pamiq_core.model.TrainingModelsDict),
    (TorchAgent, pamiq_core.torch.TorchAgent),
    (TorchInferenceModel, pamiq_core.torch.TorchInferenceModel),
    (TorchTrainer, pamiq_core.torch.TorchTrainer),
    (TorchTrainingModel, pamiq_core.torch.TorchTrainingModel),
]


MADE_BY_OTHERS = (TorchInferenceModel,)
"""Users do not construct these."""


def interface(kind: type) -> dict[str, list[tuple[str, Any]] | None]:
    """Names for users, and the parameters and defaults of those that can be called."""
    found: dict[str, list[tuple[str, Any]] | None] = {}
    for name in dir(kind):
        if name.startswith("_") and name not in ("__init__", "__call__", "_create_inference_model", "_need_sync"):
            continue
        member = getattr(kind, name)
        found[name] = None
        if inspect.isfunction(member) or inspect.ismethod(member):
            parameters = list(inspect.signature(member).parameters.values())
            found[name] = [(p.name, None if callable(p.default) else p.default) for p in parameters]
    return found


def test_every_name_of_its_torch_module_is_there() -> None:
    assert [name for name in pamiq_core.torch.__all__ if not hasattr(pamiq_storm.torch, name)] == []
    for name in ("default_infer_procedure", "get_device"):
        its, ours = (inspect.signature(getattr(module, name)) for module in (pamiq_core.torch, pamiq_storm.torch))
        assert list(ours.parameters) == list(its.parameters)


@pytest.mark.parametrize(("ours", "its"), PAIRS, ids=lambda kind: kind.__name__)
def test_our_interface_is_its_own(ours: type, its: type) -> None:
    """Same names and parameters in the same order; more parameters may follow."""
    has = interface(ours)
    for name, parameters in interface(its).items():
        assert name in has, name
        if parameters is None or has[name] is None or (name == "__init__" and ours in MADE_BY_OTHERS):
            continue
        assert has[name][: len(parameters)] == parameters, name  # type: ignore[index]
