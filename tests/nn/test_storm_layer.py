"""StormLayer and convert: nn.Linear in all but what happens to the saved input."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from pamiq_storm.nn import StormLayer, StormModel, convert


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_a_layer_is_initialised_as_linear_is(bias: bool) -> None:
    torch.manual_seed(7)
    linear = nn.Linear(5, 3, bias)
    after = torch.rand(1)
    torch.manual_seed(7)
    layer = StormLayer(5, 3, bias=bias)
    assert torch.equal(torch.rand(1), after)
    assert list(layer.state_dict()) == list(linear.state_dict())
    for mine, theirs in zip(layer.parameters(), linear.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_state_dicts_go_both_ways() -> None:
    linear, layer = nn.Linear(5, 3), StormLayer(5, 3, 0)
    layer.load_state_dict(linear.state_dict())
    linear.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5)
    assert torch.equal(layer(x), linear(x))


def test_device_and_dtype_are_those_asked_for(any_device: str) -> None:
    layer = StormLayer(5, 3, device=any_device, dtype=torch.bfloat16)
    assert layer.weight.device.type == any_device
    assert layer.weight.dtype == torch.bfloat16
    assert layer(torch.randn(2, 5, dtype=torch.bfloat16).to(any_device)).dtype == torch.bfloat16


def test_the_number_shows() -> None:
    assert repr(StormLayer(5, 3, 4)) == "StormLayer(in_features=5, out_features=3, bias=True, layer_id=4)"


@pytest.mark.parametrize("layer_id", [-1, True])
def test_a_number_that_is_none_is_refused(layer_id: int) -> None:
    with pytest.raises(ValueError, match="layer_id must be None or a number from 0"):
        StormLayer(5, 3, layer_id)


def test_a_layer_can_be_copied_pickled_and_saved() -> None:
    layer = StormLayer(5, 3, 4)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    others = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(file, weights_only=False)]
    x = torch.randn(2, 5)
    for other in others:
        assert type(other) is StormLayer
        assert other.layer_id == 4
        assert torch.equal(other(x), layer(x))


def tower() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Sequential(nn.Linear(6, 6), nn.Dropout()), nn.Linear(6, 2))


def test_convert_keeps_parameters_modes_hooks_and_results() -> None:
    model = tower().eval()
    inner = model.get_submodule("2.0").train()
    calls: list[str] = []
    model[0].register_forward_hook(lambda *_: calls.append("hook"))
    x = torch.randn(3, 4)
    expected, parameters, names = model(x), list(model.parameters()), list(model.state_dict())
    assert convert(model) is model
    assert [type(m) for m in model.modules() if isinstance(m, nn.Linear)] == [StormLayer] * 3
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == names
    assert [m.training for m in (model, model[0], inner)] == [False, False, True]
    assert torch.equal(model(x), expected)
    assert calls == ["hook", "hook"]


def test_convert_numbers_layers_in_module_order_and_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2), StormLayer(2, 2, 9), nn.Linear(2, 2))
    convert(convert(model))
    assert [layer.layer_id for layer in model] == [0, 9, 2]


def test_convert_keeps_tied_weights_and_shared_layers() -> None:
    model = nn.Module()
    model.embedding = nn.Embedding(5, 4)
    model.head = nn.Linear(4, 5, bias=False)
    model.head.weight = model.embedding.weight
    model.again = model.head
    convert(model)
    assert model.head.weight is model.embedding.weight
    assert model.again is model.head
    assert type(model.head) is StormLayer


def test_convert_of_a_single_linear_returns_a_layer() -> None:
    linear = nn.Linear(4, 2)
    weight = linear.weight
    layer = convert(linear)
    assert type(layer) is StormLayer
    assert layer.weight is weight


def test_convert_leaves_subclasses_alone() -> None:
    class Mine(nn.Linear):
        pass

    model = nn.Sequential(Mine(2, 2), nn.MultiheadAttention(4, 2))
    convert(model)
    assert type(model[0]) is Mine
    assert type(model[1].out_proj) is nn.modules.linear.NonDynamicallyQuantizableLinear


def test_convert_refuses_what_is_no_module() -> None:
    with pytest.raises(TypeError, match=r"convert takes an nn\.Module, got list"):
        convert([nn.Linear(2, 2)])  # type: ignore[arg-type]


@pytest.mark.parametrize("training", [True, False], ids=["training", "fast path"])
def test_a_transformer_layer_is_right_after_convert(training: bool) -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).train(training)
    converted = convert(copy.deepcopy(layer))
    x = torch.randn(2, 5, 8)
    with torch.set_grad_enabled(training):
        assert torch.equal(converted(x), layer(x))


def test_weight_norm_survives_convert() -> None:
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.Linear(3, 2))
    x = torch.randn(2, 4)
    expected = torch.autograd.grad(model(x).sum(), list(model.parameters()))
    found = torch.autograd.grad(convert(model)(x).sum(), list(model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_model_compiles() -> None:
    model = StormModel(4, 8, 2)
    x = torch.randn(3, 4)
    torch.testing.assert_close(torch.compile(model, backend="aot_eager", fullgraph=True)(x), model(x))
