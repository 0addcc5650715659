"""The two halves of a model, and models by name."""

from pathlib import Path

import pytest

from pamiq_storm.live import TrainingModelsDict

from .parts import NumberModel


def test_the_inference_model_is_made_when_first_asked_for_and_only_once() -> None:
    model = NumberModel()
    assert model.made == 0
    assert model.inference_model is model.inference_model
    assert model.made == 1


def test_sync_hands_over_and_calls_go_to_each_half() -> None:
    model = NumberModel()
    model.inference_model  # noqa: B018
    model.number = 7
    assert model.inference_model() == 0
    model.sync()
    assert model.inference_model() == 7
    assert model(1) == 8


@pytest.mark.parametrize("only", [False, True])
def test_there_is_nothing_to_sync_without_two_halves(only: bool) -> None:
    model = NumberModel(has_inference_model=only, inference_thread_only=only)
    model.number = 7
    model.sync()
    assert model.made == 0


def test_asking_for_a_half_that_is_not_there_says_why() -> None:
    with pytest.raises(RuntimeError, match=r"NumberModel was made with has_inference_model=False"):
        NumberModel(has_inference_model=False).inference_model  # noqa: B018


def test_only_inference_without_an_inference_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"inference_thread_only=True .* has_inference_model=False .* only one"):
        NumberModel(has_inference_model=False, inference_thread_only=True)


def test_a_container_offers_each_thread_its_models() -> None:
    both, inference, training = NumberModel(), NumberModel(inference_thread_only=True), NumberModel(False)
    models = TrainingModelsDict({"both": both, "inference": inference, "training": training})
    assert models["both"] is both
    assert models["training"] is training
    with pytest.raises(KeyError, match="'inference' was made with inference_thread_only=True"):
        models["inference"]
    with pytest.raises(KeyError, match=r"no model 'other'; there are: 'both', 'inference', 'training'"):
        models["other"]
    assert dict(models.inference_models_dict) == {
        "both": both.inference_model,
        "inference": inference.inference_model,
    }


def test_a_model_that_is_replaced_or_deleted_takes_its_inference_model_along() -> None:
    models = TrainingModelsDict(a=NumberModel(), b=NumberModel())
    models["a"] = NumberModel(has_inference_model=False)
    del models["b"]
    assert not models.inference_models_dict


def test_loaded_models_are_served_at_once(tmp_path: Path) -> None:
    saved, loaded = NumberModel(), NumberModel()
    saved.number = 5
    TrainingModelsDict(a=saved).save_state(tmp_path / "models")
    models = TrainingModelsDict(a=loaded)
    models.load_state(tmp_path / "models")
    assert models.inference_models_dict["a"]() == 5
