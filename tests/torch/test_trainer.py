"""Optimizers last, states continue bit for bit, and a save beside a training is of one moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from pamiq_storm.live import TrainingModelsDict
from pamiq_storm.torch import OptimizersSetup, TorchTrainer, TorchTrainingModel, files

from ..live.parts import PATIENCE_S, NumberModel
from ..programs import run_program


def net(seed: int = 0, width: int = 8) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 2))


class Regression(TorchTrainer):
    """Two steps each run, on data that follow from the number of runs."""

    def __init__(
        self,
        make: Callable[[nn.Module], OptimizersSetup] | None = None,
        during: Callable[[], None] = lambda: None,
        device: str = "cpu",
    ) -> None:
        super().__init__()
        self.make = make or adam
        self.during = during
        self.device = device
        self.made = 0

    def on_training_models_attached(self) -> None:
        self.net = self.get_torch_training_model("net", nn.Sequential)

    def create_optimizers(self) -> OptimizersSetup:
        self.made += 1
        return self.make(self.net.model)

    def train(self) -> None:
        for step in range(2):
            generator = torch.Generator().manual_seed(self.runs * 2 + step)
            x = torch.randn(16, 4, generator=generator).to(self.device)
            loss = (self.net(x) - x[:, :2].sin()).square().mean()
            for optimizer in self.optimizers.values():
                optimizer.zero_grad()
            loss.backward()
            for optimizer in self.optimizers.values():
                optimizer.step()
            self.during()
            for scheduler in self.lr_schedulers.values():
                scheduler.step(*([loss.item()] if isinstance(scheduler, ReduceLROnPlateau) else []))


def adam(module: nn.Module) -> OptimizersSetup:
    return {"adam": Adam(module.parameters(), lr=0.01)}


def with_scheduler(make: Callable[[Optimizer], LRScheduler]) -> Callable[[nn.Module], OptimizersSetup]:
    def both(module: nn.Module) -> OptimizersSetup:
        optimizer = Adam(module.parameters(), lr=0.01, amsgrad=True)
        return {"adam": optimizer}, {"scheduler": make(optimizer)}

    return both


SCHEDULERS: dict[str, Callable[[Any], LRScheduler]] = {
    "exponential": lambda optimizer: ExponentialLR(optimizer, 0.9),
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, 7),
    "multi-step": lambda optimizer: MultiStepLR(optimizer, [2, 5]),
    "one-cycle": lambda optimizer: OneCycleLR(optimizer, 0.1, total_steps=100),
    "plateau": lambda optimizer: ReduceLROnPlateau(optimizer, patience=1, threshold=0.5),
    "lambda": lambda optimizer: LambdaLR(optimizer, lambda epoch: 0.9**epoch),
    "cyclic": lambda optimizer: CyclicLR(optimizer, 0.001, 0.1, step_size_up=3, cycle_momentum=False),
    "sequential": lambda optimizer: SequentialLR(
        optimizer, [ExponentialLR(optimizer, 0.9), CosineAnnealingLR(optimizer, 5)], [3]
    ),
}


def attached(trainer: TorchTrainer, module: nn.Module | None = None, infers: bool = True) -> TrainingModelsDict:
    models = TrainingModelsDict({"net": TorchTrainingModel(module or net(), has_inference_model=infers)})
    trainer.attach_training_models(models)
    return models


def parameters_of(trainer: Regression) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in trainer.net.model.parameters()]


def all_equal(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_optimizers_are_made_once_and_keep_their_identity() -> None:
    trainer = Regression(with_scheduler(SCHEDULERS["exponential"]))
    attached(trainer)
    trainer.run()
    optimizer, scheduler = trainer.optimizers["adam"], trainer.lr_schedulers["scheduler"]
    for _ in range(3):
        trainer.run()
    assert trainer.made == 1
    assert trainer.optimizers["adam"] is optimizer
    assert trainer.lr_schedulers["scheduler"] is scheduler


def test_many_runs_train_as_one_plain_loop_does() -> None:
    trainer = Regression(with_scheduler(SCHEDULERS["cosine"]))
    attached(trainer)
    plain = Regression(with_scheduler(SCHEDULERS["cosine"]))
    attached(plain)
    optimizers, schedulers = plain.create_optimizers()
    plain.optimizers, plain.lr_schedulers = optimizers, schedulers  # type: ignore[assignment]
    for _ in range(5):
        trainer.run()
        plain.train()
        plain.runs += 1
    assert all_equal(parameters_of(trainer), parameters_of(plain))


def test_the_retrieved_model_is_synced_after_each_run() -> None:
    trainer = Regression()
    models = attached(trainer)
    x = torch.ones(1, 4)
    before = models["net"].inference_model(x)
    trainer.run()
    after = models["net"].inference_model(x)
    assert not torch.equal(before, after)
    assert torch.equal(after, models["net"](x).detach())


def test_steps_and_runs_are_counted() -> None:
    def two(module: nn.Module) -> OptimizersSetup:
        return {"first": SGD(module[0].parameters(), 0.1), "last": SGD(module[2].parameters(), 0.1)}  # type: ignore[index]

    trainer = Regression(two)
    attached(trainer)
    assert (trainer.steps, trainer.runs) == (0, 0)
    for _ in range(3):
        trainer.run()
    assert (trainer.steps, trainer.runs) == (12, 3)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_training_continues_bit_for_bit_after_save_and_load(kind: str, tmp_path: Path) -> None:
    straight = Regression(with_scheduler(SCHEDULERS[kind]))
    attached(straight)
    for _ in range(8):
        straight.run()

    first = Regression(with_scheduler(SCHEDULERS[kind]))
    models = attached(first)
    for _ in range(4):
        first.run()
    models.save_state(tmp_path / "models")
    first.save_state(tmp_path / "trainer")

    second = Regression(with_scheduler(SCHEDULERS[kind]))
    models = attached(second, net(seed=1))
    models.load_state(tmp_path / "models")
    second.load_state(tmp_path / "trainer")
    assert (second.steps, second.runs) == (8, 4)
    for _ in range(4):
        second.run()
    assert all_equal(parameters_of(second), parameters_of(straight))
    assert (second.steps, second.runs) == (straight.steps, straight.runs)
    lr = straight.optimizers["adam"].param_groups[0]["lr"]
    assert second.optimizers["adam"].param_groups[0]["lr"] == lr != 0.01


def test_a_load_into_a_trainer_that_has_trained_goes_back_to_the_saved_state(tmp_path: Path) -> None:
    trainer = Regression(with_scheduler(SCHEDULERS["exponential"]))
    models = attached(trainer)
    trainer.run()
    models.save_state(tmp_path / "models")
    trainer.save_state(tmp_path / "trainer")
    for _ in range(3):
        trainer.run()
    once = parameters_of(trainer)
    optimizer = trainer.optimizers["adam"]
    for _ in range(2):
        models.load_state(tmp_path / "models")
        trainer.load_state(tmp_path / "trainer")
        for _ in range(3):
            trainer.run()
        assert all_equal(parameters_of(trainer), once)
    assert trainer.optimizers["adam"] is optimizer


def test_what_was_loaded_is_saved_again_before_any_training(tmp_path: Path) -> None:
    first = Regression()
    attached(first)
    first.run()
    first.save_state(tmp_path / "first")
    second = Regression()
    attached(second)
    second.load_state(tmp_path / "first")
    second.save_state(tmp_path / "second")
    assert set(second.optimizer_states) == {"adam"}
    one, other = (files.load(tmp_path / name / "adam.optim.pt") for name in ("first", "second"))
    assert all_equal(*([s["exp_avg"] for s in state["state"].values()] for state in (one, other)))
    assert (tmp_path / "second" / "counts.json").read_text() == '{"steps": 2, "runs": 1}'


def test_the_files_are_those_of_pamiq_core_and_one_more(tmp_path: Path) -> None:
    trainer = Regression(with_scheduler(SCHEDULERS["exponential"]))
    attached(trainer)
    trainer.run()
    trainer.save_state(tmp_path / "trainer")
    assert {path.name for path in (tmp_path / "trainer").iterdir()} == {
        "adam.optim.pt",
        "scheduler.lrsch.pt",
        "previous_training_time",
        "counts.json",
    }
    (tmp_path / "trainer" / "counts.json").unlink()
    other = Regression(with_scheduler(SCHEDULERS["exponential"]))
    attached(other)
    other.load_state(tmp_path / "trainer")
    other.run()
    assert (other.steps, other.runs) == (2, 1)


def test_a_checkpoint_from_before_the_first_training_begins_anew(tmp_path: Path) -> None:
    untrained = Regression()
    attached(untrained)
    untrained.save_state(tmp_path / "trainer")
    trainer = Regression()
    attached(trainer)
    trainer.run()
    trainer.load_state(tmp_path / "trainer")
    assert (trainer.steps, trainer.runs, trainer.optimizers) == (0, 0, {})
    trainer.run()
    assert trainer.optimizers["adam"].state_dict()["state"][0]["step"] == 2


@pytest.mark.parametrize("trained", [False, True], ids=["new trainer", "trained trainer"])
def test_a_checkpoint_with_other_names_says_what_it_lacks_and_what_is_too_much(trained: bool, tmp_path: Path) -> None:
    first = Regression(with_scheduler(SCHEDULERS["exponential"]))
    attached(first)
    first.run()
    first.save_state(tmp_path / "trainer")

    def renamed(module: nn.Module) -> OptimizersSetup:
        return {"sgd": SGD(module.parameters(), 0.1)}

    other = Regression(renamed)
    attached(other)
    if trained:
        other.run()
    before = parameters_of(other)
    message = (
        "checkpoint .*trainer lacks the optimizer 'sgd', has an unknown optimizer 'adam', "
        "has an unknown scheduler 'scheduler': .* reset_optimizers"
    )
    with pytest.raises(ValueError, match=message):
        other.load_state(tmp_path / "trainer")
        other.run()
    assert all_equal(parameters_of(other), before)
    assert (other.steps, other.runs) == (2, 1)
    if trained:
        other.run()
        assert other.runs == 2, "the refused load changed nothing"
    else:
        other.reset_optimizers()
        other.run()


def test_a_checkpoint_with_other_groups_says_which(tmp_path: Path) -> None:
    first = Regression()
    attached(first)
    first.run()
    first.save_state(tmp_path / "trainer")

    def halves(module: nn.Module) -> OptimizersSetup:
        groups = [{"params": module[0].parameters()}, {"params": module[2].parameters()}]  # type: ignore[index]
        return {"adam": Adam(groups, lr=0.1)}

    other = Regression(halves)
    attached(other)
    other.load_state(tmp_path / "trainer")
    with pytest.raises(ValueError, match=r"'adam' in checkpoint .* has groups of 4 parameters, .* groups of 2 and 2"):
        other.run()
    assert other.optimizers == {}


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no checkpoint folder .*none"):
        Regression().load_state(tmp_path / "none")


def test_state_that_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    class Odd(ExponentialLR):
        def __init__(self, optimizer: Optimizer) -> None:
            self.odd = threading.Thread
            super().__init__(optimizer, 0.9)

    trainer = Regression(with_scheduler(Odd))
    attached(trainer)
    trainer.run()
    with pytest.raises(TypeError, match=r"scheduler\.lrsch\.pt was not written: .*threading\.Thread"):
        trainer.save_state(tmp_path / "trainer")


def test_new_parameters_get_new_optimizers_that_carry_the_state_on() -> None:
    trainer = Regression(with_scheduler(SCHEDULERS["exponential"]))
    attached(trainer)
    straight = Regression(with_scheduler(SCHEDULERS["exponential"]))
    attached(straight)
    for _ in range(2):
        trainer.run()
        straight.run()
    with torch.no_grad():
        for module in trainer.net.model:
            for name, parameter in list(module.named_parameters()):
                setattr(module, name, nn.Parameter(parameter.clone()))
    trainer.run()
    straight.run()
    assert trainer.made == 2
    assert trainer.steps == straight.steps, "the old optimizers count no more"
    assert all_equal(parameters_of(trainer), parameters_of(straight))


def test_new_parameters_of_another_shape_are_refused_until_the_states_are_reset() -> None:
    trainer = Regression()
    attached(trainer, infers=False)
    trainer.run()
    trainer.net.model[0] = nn.Linear(4, 9)
    trainer.net.model[2] = nn.Linear(9, 2)
    message = r"parameter 0 of group 0 had shape \(8, 4\) and has \(9, 4\) now; call reset_optimizers\(\)"
    with pytest.raises(ValueError, match=message):
        trainer.run()
    trainer.reset_optimizers()
    trainer.run()
    assert trainer.optimizers["adam"].param_groups[0]["params"][0] is trainer.net.model[0].weight


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([], "in a dict, not list"),
        ({"a": 1}, "gave a int as 'a', not a Optimizer"),
        (({}, {"b": 2}), "gave a int as 'b', not a LRScheduler"),
    ],
)
def test_what_are_no_optimizers_is_refused(made: Any, message: str) -> None:
    trainer = Regression(lambda _: made)
    attached(trainer)
    with pytest.raises(TypeError, match=message):
        trainer.run()


def test_models_of_other_types_are_refused_by_both_names() -> None:
    trainer = Regression()
    trainer.net = None  # type: ignore[assignment]
    models = TrainingModelsDict({"net": TorchTrainingModel(net()), "number": NumberModel()})
    trainer.attach_training_models(models)
    with pytest.raises(TypeError, match="model 'number' is a NumberModel, not a TorchTrainingModel"):
        trainer.get_torch_training_model("number")
    with pytest.raises(TypeError, match="module of model 'net' is a Sequential, not a Conv2d"):
        trainer.get_torch_training_model("net", nn.Conv2d)
    assert trainer.get_torch_training_model("net") is models["net"]


class Beside:
    """Saves in another thread while a training is in the middle of a step, and lets both end."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path
        self.at_step = threading.Event()
        self.saving = threading.Event()
        self.saved = threading.Event()
        self.trainer = Regression(with_scheduler(SCHEDULERS["exponential"]), self.in_mid_step)
        self.models = attached(self.trainer)
        self.saver = threading.Thread(target=self.save)

    def in_mid_step(self) -> None:
        """The optimizer has stepped, the scheduler has not."""
        if self.trainer.runs == 1 and not self.at_step.is_set():
            self.at_step.set()
            assert self.saving.wait(PATIENCE_S)
            assert not self.saved.wait(0.1), "a save took the state of half a step"

    def save(self) -> None:
        assert self.at_step.wait(PATIENCE_S)
        self.saving.set()
        self.models.save_state(self.path / "models")
        self.trainer.save_state(self.path / "trainer")
        self.saved.set()


def test_a_save_beside_a_running_step_is_of_a_moment_between_runs(tmp_path: Path) -> None:
    beside = Beside(tmp_path)
    beside.trainer.run()
    beside.saver.start()
    beside.trainer.run()
    beside.saver.join(PATIENCE_S)
    assert beside.saved.is_set()
    optimizer = files.load(tmp_path / "trainer" / "adam.optim.pt")
    scheduler = files.load(tmp_path / "trainer" / "scheduler.lrsch.pt")
    assert optimizer["state"][0]["step"] == scheduler["last_epoch"] == 4
    assert (tmp_path / "trainer" / "counts.json").read_text() == '{"steps": 4, "runs": 2}'


def test_training_goes_on_while_a_save_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Regression()
    attached(trainer)
    trainer.run()
    writing, go_on = threading.Event(), threading.Event()
    save = files.save

    def slow(value: object, path: Path) -> None:
        writing.set()
        assert go_on.wait(PATIENCE_S)
        save(value, path)

    monkeypatch.setattr(files, "save", slow)
    saver = threading.Thread(target=trainer.save_state, args=(tmp_path / "trainer",))
    saver.start()
    assert writing.wait(PATIENCE_S)
    trainer.run()
    go_on.set()
    saver.join(PATIENCE_S)
    assert files.load(tmp_path / "trainer" / "adam.optim.pt")["state"][0]["step"] == 2, "of before the second run"


def test_a_model_retrieved_in_mid_run_is_locked_until_its_end() -> None:
    class Late(Regression):
        def on_training_models_attached(self) -> None: ...

        def create_optimizers(self) -> OptimizersSetup:
            self.net = self.get_torch_training_model("net", nn.Sequential)
            return super().create_optimizers()

    free: list[bool] = []

    def look() -> None:
        thread = threading.Thread(target=lambda: free.append(lock.acquire(blocking=False)))
        thread.start()
        thread.join(PATIENCE_S)

    trainer = Late(during=look)
    lock = attached(trainer)["net"].step_lock
    trainer.run()
    assert free == [False, False]
    look()
    assert free[-1] is True


def test_trainers_that_share_models_under_other_names_do_not_deadlock() -> None:
    class Both(TorchTrainer):
        def on_training_models_attached(self) -> None:
            self.both = [self.get_torch_training_model(name) for name in "ab"]

        def create_optimizers(self) -> OptimizersSetup:
            return {}

        def train(self) -> None: ...
        def sync_models(self) -> None: ...

    one, other = TorchTrainingModel(net()), TorchTrainingModel(net())
    trainers = [Both(), Both()]
    trainers[0].attach_training_models(TrainingModelsDict(a=one, b=other))
    trainers[1].attach_training_models(TrainingModelsDict(a=other, b=one))
    threads = [threading.Thread(target=lambda t=t: [t.run() for _ in range(2000)]) for t in trainers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert [trainer.runs for trainer in trainers] == [2000, 2000]


def test_a_failed_training_leaves_no_lock_behind() -> None:
    def fail() -> None:
        raise ValueError("broken")

    trainer = Regression(during=fail)
    models = attached(trainer)
    with pytest.raises(ValueError, match="broken"):
        trainer.run()
    taken: list[bool] = []
    for lock in (models["net"].step_lock, trainer._run_lock):
        thread = threading.Thread(target=lambda lock=lock: taken.append(lock.acquire(blocking=False)))
        thread.start()
        thread.join(PATIENCE_S)
    assert taken == [True, True]
    assert (trainer.steps, trainer.runs) == (1, 0)


def test_a_kill_at_any_step_of_a_checkpoint_leaves_models_and_optimizers_of_one_moment(tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        import torch
        from pamiq_storm.live.checkpoints import CheckpointStore
        from tests.kills import killed_everywhere
        from tests.torch.test_trainer import Regression, attached

        torch.set_num_threads(1)
        store = CheckpointStore(Path(sys.argv[1]), max_keep=1)
        trainer = Regression()
        models = attached(trainer)

        def write(folder):
            models.save_state(folder / "models")
            trainer.save_state(folder / "trainer")

        def run():
            trainer.run()
            moments[trainer.runs] = [parameter.clone() for parameter in trainer.net.model.parameters()]

        def check(step):
            other = Regression()
            others = attached(other)
            path = store.newest()
            others.load_state(path / "models")
            other.load_state(path / "trainer")
            for one, two in zip(moments[other.runs], other.net.model.parameters()):
                assert torch.equal(one, two), step
            assert other.optimizer_states["adam"]["state"][0]["step"] == 2 * other.runs == other.steps
            assert other.runs in (trainer.runs, saved[0]), step
            saved[0] = other.runs
            run()

        moments, saved = {}, [1]
        run()
        store.write(write)
        print(killed_everywhere(lambda step: store.write(write), check, stride=3))
    """
    done = run_program(program, tmp_path / "states", timeout=100)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40
