"""One training, and the trainers of a system."""

from pathlib import Path

import pytest

from pamiq_storm.live import DataUsersDict, SequentialBuffer, Trainer, TrainersDict, TrainingModelsDict

from .parts import Adder, NumberModel


class Teller(Trainer):
    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.calls: list[str] = []

    def setup(self) -> None:
        self.calls.append("setup")

    def train(self) -> None:
        self.calls.append("train")

    def sync_models(self) -> None:
        self.calls.append("sync")

    def teardown(self) -> None:
        self.calls.append("teardown")


def test_a_run_sets_up_trains_syncs_and_tears_down_in_that_order() -> None:
    teller = Teller()
    assert teller.run() is True
    assert teller.calls == ["setup", "train", "sync", "teardown"]


def test_without_enough_data_nothing_runs() -> None:
    teller = Teller("a", 1)
    teller.attach_data_users(DataUsersDict.from_data_buffers(a=SequentialBuffer[int](1)))
    assert teller.run() is False
    assert teller.calls == []


def test_only_retrieved_models_are_synced() -> None:
    models = TrainingModelsDict(number=NumberModel(), other=NumberModel())
    trainer = Adder()
    trainer.attach_training_models(models)
    models["other"].number = 9
    trainer.run()
    assert models["number"].inference_model() == 1
    assert models["other"].inference_model() == 0


def test_the_time_of_the_last_training_is_kept(tmp_path: Path) -> None:
    users = DataUsersDict.from_data_buffers(a=SequentialBuffer[int](5))
    users["a"]._collector.collect(1)
    saved, loaded = Adder("a", new=1), Adder("a", new=1)
    for trainer in (saved, loaded):
        trainer.attach_data_users(users)
    assert saved.is_trainable()
    TrainersDict(a=saved).save_state(tmp_path / "trainers")
    TrainersDict(a=loaded).load_state(tmp_path / "trainers")
    assert loaded._previous_training_time == saved._previous_training_time
    assert not loaded.is_trainable()


def test_a_new_trainer_keeps_minus_infinity(tmp_path: Path) -> None:
    Adder().save_state(tmp_path / "a")
    trainer = Adder()
    trainer.load_state(tmp_path / "a")
    assert trainer._previous_training_time == -float("inf")


def test_trainers_run_in_order_and_hear_of_pauses() -> None:
    first, second = Adder(), Adder()
    trainers = TrainersDict([("z", first), ("a", second)])
    assert list(trainers) == ["z", "a"]
    trainers.on_paused()
    trainers.on_resumed()
    assert first.events == second.events == ["paused", "resumed"]


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(KeyError, match="'number'"):
        Adder().attach_training_models(TrainingModelsDict())
