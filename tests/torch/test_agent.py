"""An agent asks for its models by name and type."""

import pytest
import torch
from torch import nn

from pamiq_storm.live import InferenceModelsDict, TrainingModelsDict
from pamiq_storm.torch import TorchAgent, TorchTrainingModel

from ..live.parts import NumberModel


class Asking(TorchAgent[torch.Tensor, torch.Tensor]):
    def step(self, observation: torch.Tensor) -> torch.Tensor:
        return observation


@pytest.fixture
def agent() -> Asking:
    agent = Asking()
    models = {"net": TorchTrainingModel(nn.Sequential(nn.Linear(2, 2))), "number": NumberModel()}
    agent.attach_inference_models(TrainingModelsDict(models).inference_models_dict)
    return agent


@pytest.mark.parametrize("module_cls", [nn.Module, nn.Sequential])
def test_a_model_of_the_right_type_is_given(agent: Asking, module_cls: type[nn.Module]) -> None:
    model = agent.get_torch_inference_model("net", module_cls)
    assert model is agent.get_torch_inference_model("net")
    assert model(torch.zeros(1, 2)).shape == (1, 2)


def test_a_module_of_another_type_is_refused_by_both_names(agent: Asking) -> None:
    with pytest.raises(TypeError, match="module of inference model 'net' is a Sequential, not a Conv2d"):
        agent.get_torch_inference_model("net", nn.Conv2d)


def test_a_model_of_another_kind_is_refused_by_both_names(agent: Asking) -> None:
    with pytest.raises(ValueError, match="'number' is a NumberInference, not a TorchInferenceModel"):
        agent.get_torch_inference_model("number")


def test_an_unknown_name_is_refused(agent: Asking) -> None:
    with pytest.raises(KeyError, match="other"):
        agent.get_torch_inference_model("other")


def test_children_ask_too() -> None:
    child = Asking()
    Asking({"child": child}).attach_inference_models(
        InferenceModelsDict(net=TorchTrainingModel(nn.Linear(2, 2)).inference_model)
    )
    assert child.get_torch_inference_model("net", nn.Linear).module_class is nn.Linear
