"""Inference reads snapshots: in eval mode, of everything that forward uses, and nothing of theirs reaches training."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from pamiq_storm.torch import PublishMode, TorchTrainingModel, serve_hook

from .live_models import Net, Scaled, X, assert_serves, evaluating, expected, step, storage_bytes


def live(module: nn.Module, publish: PublishMode, **options: Any) -> TorchTrainingModel[nn.Module]:
    """With a first version served already."""
    model = TorchTrainingModel(module, publish=publish, **options)
    assert model.inference_model.version == 0
    return model


def test_inference_is_in_eval_mode_from_the_first_call_on(publish: PublishMode) -> None:
    model = live(Net(), publish)
    assert model.model.training
    assert_serves(model)
    before = model.model.body[1].running_mean.clone()
    model.inference_model.infer(X)
    assert torch.equal(model.model.body[1].running_mean, before)
    for _ in range(3):
        step(model)
        model.sync()
        assert_serves(model)
        with model.inference_model.unwrap() as served:
            assert not any(child.training for child in served.modules())
    assert model.model.training


def test_whatever_mode_a_reader_leaves_the_next_one_is_in_eval_mode(publish: PublishMode) -> None:
    model = live(Net(), publish)
    model.model.body[1].eval()
    modes = [child.training for child in model.model.modules()]
    with pytest.raises(ZeroDivisionError), model.inference_model.unwrap() as served:
        served.body.train()
        raise ZeroDivisionError
    assert_serves(model)
    for _ in range(4):
        model.sync()
        assert_serves(model)
    assert [child.training for child in model.model.modules()] == modes


def _spectral_old() -> nn.Module:
    return nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 4)), nn.Tanh())


def _pruned() -> nn.Module:
    layer = nn.Linear(4, 4)
    prune.l1_unstructured(layer, "weight", 0.5)
    return nn.Sequential(layer, nn.Tanh())


class FirstOutput(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(0)
        return self.attention(x, x, x)[0]


class OwnParameter(nn.Parameter):
    """With an attribute of its own."""

    tag = "class"


class OwnTensor(torch.Tensor):
    """Nothing but another class."""


def _with_weight(make: Callable[[Tensor], Tensor]) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        layer = nn.Linear(4, 4)
        layer.weight = make(layer.weight.detach())  # type: ignore[assignment]
        return layer

    return made


def _tied() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    module[2].weight = nn.Parameter(module[0].weight.data)  # another parameter over the same storage
    return module


def _flat() -> nn.Module:
    """Parameters that are strided pieces of one bigger storage."""
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    memory = torch.randn(100)
    module[0].weight = nn.Parameter(memory[10:42:2].view(4, 4).t())
    module[1].weight = nn.Parameter(memory[50:66].view(4, 4))
    module[1].bias = nn.Parameter(memory[66:70])
    return module


KINDS: dict[str, Callable[[], nn.Module]] = {
    "weight norm": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.Tanh()),
    "weight norm by hooks": lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4)), nn.Tanh()),
    "spectral norm": lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Tanh()),
    "spectral norm by hooks": _spectral_old,
    "orthogonal": lambda: nn.Sequential(parametrizations.orthogonal(nn.Linear(4, 4)), nn.Tanh()),
    "pruned": _pruned,
    "lstm": lambda: FirstOutput(nn.LSTM(4, 4, num_layers=2, dropout=0.5)),
    "gru": lambda: FirstOutput(nn.GRU(4, 4, bidirectional=True)),
    "attention": Attends,
    "transformer layer": lambda: nn.TransformerEncoderLayer(4, 2, dropout=0.3, batch_first=True),
    "tied": _tied,
    "pieces of one storage": _flat,
    "own parameter class": _with_weight(OwnParameter),
    "own tensor class": _with_weight(lambda w: nn.Parameter(w.as_subclass(OwnTensor))),
    "frozen": lambda: nn.Sequential(nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4)),
    "one layer twice": lambda: nn.Sequential(*[nn.Linear(4, 4)] * 2),
}


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_the_snapshot_gives_what_the_training_module_gives_in_eval_mode(publish: PublishMode, kind: str) -> None:
    torch.manual_seed(0)
    model = live(KINDS[kind](), publish)
    assert_serves(model)
    outputs = [expected(model)]
    for _ in range(5):
        step(model)
        model.sync()
        assert_serves(model)
        outputs.append(expected(model))
    assert not torch.equal(outputs[0], outputs[-1]), "the steps did nothing"
    with model.inference_model.unwrap() as served:
        pairs = [*zip(model.model.parameters(), served.parameters(), strict=True)]
        assert all(type(a) is type(b) and a.requires_grad == b.requires_grad for a, b in pairs)
        assert not {a.data_ptr() for a, _ in pairs} & {b.data_ptr() for _, b in pairs}


def test_tied_parameters_stay_tied(publish: PublishMode) -> None:
    model = live(_tied(), publish)
    for _ in range(4):
        step(model)
        model.sync()
        with model.inference_model.unwrap() as served:
            assert served[0].weight is served[1].weight
            assert served[2].weight is not served[0].weight
            assert served[2].weight.data_ptr() == served[0].weight.data_ptr()
        assert model.model[2].weight.data_ptr() == model.model[0].weight.data_ptr()


class Buffers(nn.Module):
    """Of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))
        self.empty = nn.Parameter(torch.empty(0, 3))
        big = torch.arange(64.0)
        kinds = {
            "integer": torch.arange(5),
            "flag": torch.tensor(True),
            "bytes": torch.arange(7, dtype=torch.uint8),
            "half": torch.randn(3).half(),
            "bfloat": torch.randn(3).bfloat16(),
            "float8": torch.randn(3).to(torch.float8_e4m3fn),
            "double": torch.randn(3).double(),
            "complex": torch.randn(3, dtype=torch.cfloat),
            "conjugate": torch.randn(3, dtype=torch.cfloat).conj(),
            "number": torch.tensor(2.0),
            "nothing": torch.empty(0),
            "columns": torch.randn(3, 4).t(),
            "wide": torch.randn(3, 1).expand(3, 4),
            "strided": big[3:40:5],
            "window": big.as_strided((3, 3), (2, 3), 11),
            "channels": torch.randn(1, 2, 3, 3).to(memory_format=torch.channels_last),
        }
        for name, value in kinds.items():
            self.register_buffer(f"{name}_buffer", value, persistent=name in ("integer", "half"))
        self.register_buffer("none", None)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


def test_every_buffer_is_published_with_dtype_and_geometry(publish: PublishMode) -> None:
    model = live(Buffers(), publish)
    for round_ in range(5):
        step(model)
        for buffer in model.model.buffers():
            if buffer.dtype == torch.bool:
                buffer.logical_not_()
            elif buffer.dtype == torch.float8_e4m3fn:
                buffer.copy_(torch.full((3,), float(round_)).to(buffer.dtype))
            elif 0 not in buffer.stride():
                buffer.add_(1)
        model.sync()
        with model.inference_model.unwrap() as served:
            assert served.none is None
            for (name, live_), (_, copy_) in zip(model.model.named_buffers(), served.named_buffers(), strict=True):
                assert copy_.dtype == live_.dtype, name
                assert (copy_.shape, copy_.stride(), copy_.storage_offset()) == (
                    live_.shape,
                    live_.stride(),
                    live_.storage_offset(),
                ), name
                assert torch.equal(copy_.to(torch.complex64), live_.to(torch.complex64)), name
    assert model.publish_stats().rebuilds == 0


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_quantised_buffers_are_published(publish: PublishMode) -> None:
    class Quantised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale.dequantize()

    model = live(Quantised(), publish)
    for value in (2.0, 3.0, 4.0):
        model.model.scale.copy_(torch.full((4,), value))
        model.sync()
        assert_serves(model)


def test_a_meta_model_is_served_and_materialised(publish: PublishMode) -> None:
    model = live(nn.Linear(4, 4, device="meta"), publish)
    model.sync()
    assert model.inference_model.infer(X).is_meta
    model.model.to_empty(device="cpu")
    nn.init.eye_(model.model.weight)
    nn.init.ones_(model.model.bias)
    model.sync()
    assert torch.equal(model.inference_model.infer(X), X + 1)


def test_lazy_modules_are_served_before_and_after_they_know_their_shapes(publish: PublishMode) -> None:
    model = live(nn.Sequential(nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.LazyLinear(2)), publish)
    model.sync()
    assert isinstance(model.model[0].weight, nn.UninitializedParameter)
    assert model.inference_model.infer(X).shape == (3, 2)
    assert isinstance(model.model[0].weight, nn.UninitializedParameter), "inference never reaches training"
    for _ in range(4):
        step(model)
        model.sync()
        assert_serves(model)
        assert type(model.model[0]) is nn.Linear


@pytest.mark.parametrize("own", [OwnTensor, np.ndarray])
def test_memory_that_somebody_shares_stays_shared(publish: PublishMode, own: type) -> None:
    array = np.ones((4, 4), dtype=np.float32)
    module = nn.Linear(4, 4)
    module.weight = nn.Parameter(torch.from_numpy(array))
    bias = module.bias.detach().numpy() if own is np.ndarray else module.bias.data.as_subclass(own)
    model = live(module, publish)
    for round_ in range(4):
        array += 1
        with torch.no_grad():
            module.bias.fill_(round_)
        assert (np.asarray(bias) == round_).all()
        model.sync()
        assert torch.equal(module.weight, torch.full((4, 4), 2.0 + round_))
        assert_serves(model)
        with torch.no_grad():
            module.weight.add_(1)
        array -= 1
        assert module.weight.data_ptr() == array.ctypes.data


def test_parameters_in_shared_memory_stay_there(publish: PublishMode) -> None:
    model = live(Net().share_memory(), publish)
    for _ in range(3):
        step(model)
        model.sync()
        assert_serves(model)
        assert all(p.is_shared() for p in model.model.parameters())


def test_a_submodule_shared_by_two_models_stays_shared(publish: PublishMode) -> None:
    trunk = nn.Linear(4, 4)
    models = [live(nn.Sequential(trunk, nn.Linear(4, 2)), publish) for _ in range(2)]
    for round_ in range(6):
        for model in models:
            step(model)
        newest, other = models[round_ % 2], models[1 - round_ % 2]
        old = other.inference_model.infer(X)
        newest.sync()
        assert_serves(newest)
        assert torch.equal(other.inference_model.infer(X), old), "the other serves what it did"
        other.sync()
        assert_serves(other)
        assert_serves(newest)
        assert models[0].model[0] is models[1].model[0] is trunk


def test_scalar_attributes_set_changed_and_deleted_are_followed(publish: PublishMode) -> None:
    model = live(Scaled(2.0), publish)
    for value in (3.0, 4, True, 5.0):
        model.model.scale = value
        model.sync()
        assert_serves(model)
    model.model.extra = "added"
    model.sync()
    with model.inference_model.unwrap() as served:
        assert served.extra == "added"
    del model.model.extra
    for _ in range(4):
        model.sync()
        with model.inference_model.unwrap() as served:
            assert not hasattr(served, "extra")


def test_tensor_attributes_are_followed_without_their_graph(publish: PublishMode) -> None:
    model = live(Scaled(torch.ones(4)), publish)
    model.model.scale.add_(1)  # in place
    model.sync()
    assert_serves(model)
    model.model.scale = model.model.weight * 3  # with a graph
    graph = weakref.ref(model.model.scale)
    model.sync()
    assert_serves(model)
    with model.inference_model.unwrap(inference_mode=False) as served:
        assert served.scale.grad_fn is None
        assert served.scale is not model.model.scale
    model.model.scale = 1.0
    gc.collect()
    assert graph() is None, "publication keeps no graph alive"
    for _ in range(3):
        model.sync()
        assert_serves(model)


def test_containers_filled_in_place_are_followed(publish: PublishMode) -> None:
    class Configured(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))
            self.settings: dict[str, Any] = {"scales": [1.0], "table": torch.zeros(4), "array": np.zeros(4)}

        def forward(self, x: Tensor) -> Tensor:
            offsets = self.settings["table"] + torch.from_numpy(self.settings["array"])
            return x * self.weight * sum(self.settings["scales"]) + offsets

    model = live(Configured(), publish)
    settings = model.model.settings
    changes: list[Callable[[], object]] = [
        lambda: settings["scales"].append(2.0),
        lambda: settings["scales"].__setitem__(0, 7.0),
        lambda: settings["table"].add_(1),
        lambda: settings["array"].__iadd__(1),
        lambda: settings.update(table=torch.ones(4) * 5),
        lambda: settings.update(itself=settings),
        lambda: settings.update(deep=[{"x": (1, [2])}]),
        lambda: settings["deep"][0]["x"][1].append(3),
        lambda: settings["scales"].clear(),
    ]
    for change in changes:
        change()
        model.sync()
        assert_serves(model)
        with model.inference_model.unwrap() as served:
            assert served.settings is not settings
            assert served.settings["table"] is not settings["table"]
            assert served.settings.get("deep") == settings.get("deep")


def test_recurrent_state_with_a_graph_in_a_tuple_is_published(publish: PublishMode) -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.LSTMCell(4, 4)
            self.state: tuple[Tensor, Tensor] | None = None

        def forward(self, x: Tensor) -> Tensor:
            return self.cell(x, self.state)[0]

    model = live(Remembers(), publish)
    for _ in range(4):
        model.model.state = model.model.cell(X, model.model.state)
        model.sync()
        assert_serves(model)
        with model.inference_model.unwrap() as served:
            for mine, theirs in zip(served.state, model.model.state, strict=True):
                assert mine.data_ptr() != theirs.data_ptr()
                mine.zero_()
        assert all(bool(tensor.any()) for tensor in model.model.state)
    assert TorchTrainingModel(model.model, publish=publish).inference_model.version == 0, "a first copy can be made"


class Lazy(nn.Module):
    """Eval mode remembers what it made of the weight, in a way of choice."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.where = where
        self.calls = 0
        self.cache: dict[str, Tensor] = {}
        self.nested: list[dict[str, Tensor]] = [{}]
        self.attribute: Tensor | None = None
        self.register_buffer("buffer", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return x * self.weight
        self.calls += 1
        if self.where == "cache":
            return x * self.cache.setdefault("made", self.weight * 2)
        if self.where == "nested":
            return x * self.nested[0].setdefault("made", self.weight * 2)
        if getattr(self, self.where, None) is None:
            setattr(self, self.where, self.weight * 2)
        return x * getattr(self, self.where)


@pytest.mark.parametrize("where", ["cache", "nested", "attribute", "buffer", "new"])
def test_what_inference_makes_lazily_reaches_neither_training_nor_another_version(
    publish: PublishMode, where: str
) -> None:
    model = live(Lazy(where), publish)
    module = model.model
    for _ in range(9):
        with torch.no_grad():
            module.weight.add_(1)
        model.sync()
        for _ in range(2):
            assert torch.equal(model.inference_model.infer(torch.ones(4)), module.weight.detach() * 2)
        assert (module.cache, module.nested, module.attribute, module.buffer) == ({}, [{}], None, None)
        assert not hasattr(module, "new")
        assert module.calls == 0


def test_attributes_that_inference_deletes_or_sets_are_back_in_another_version(publish: PublishMode) -> None:
    model = live(Scaled(2.0), publish)
    with model.inference_model.unwrap() as served:
        served.scale = 100.0
    with model.inference_model.unwrap() as served:
        served.scale = 50.0
        del served.scale
    for _ in range(6):
        model.sync()
        assert_serves(model)


def test_observation_hooks_stay_with_training_and_marked_ones_are_served(publish: PublishMode) -> None:
    calls: list[str] = []

    class Hooked(nn.Linear):
        def __init__(self) -> None:
            super().__init__(4, 4)
            self.register_forward_hook(lambda *_: calls.append("closure"))
            self.register_forward_pre_hook(self.shift)
            self.register_forward_hook(self.keywords, with_kwargs=True)

        def shift(self, module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
            assert module is self
            return (args[0] + 1,)

        def keywords(self, module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
            return output * 2

    @serve_hook
    def marked(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        return output - 3

    module = Hooked()
    module.register_forward_hook(marked)
    model = live(module, publish)
    for _ in range(3):
        calls.clear()
        got = model.inference_model.infer(X)
        assert calls == []
        assert torch.equal(got, expected(model))
        assert calls == ["closure"]
        assert torch.equal(got, nn.functional.linear(X + 1, module.weight, module.bias).detach() * 2 - 3)
        step(model)
        model.sync()


def test_owners_of_state_dict_hooks_are_not_copied(publish: PublishMode) -> None:
    class Logger:
        def __init__(self) -> None:
            self.lock = threading.Lock()  # cannot be copied

        def seen(self, *args: Any) -> None: ...

    module, logger = Net(), Logger()
    module.register_state_dict_pre_hook(logger.seen)
    module.register_state_dict_post_hook(lambda *args: logger.seen())
    module.register_load_state_dict_pre_hook(logger.seen)
    module.register_load_state_dict_post_hook(logger.seen)
    model = live(module, publish)
    step(model)
    model.sync()
    assert_serves(model)


@pytest.mark.parametrize("where", ["root", "child"])
def test_a_class_with_a_deepcopy_of_its_own_is_followed(publish: PublishMode, where: str) -> None:
    class Own(nn.Linear):
        def __deepcopy__(self, memo: dict[int, Any]) -> Own:
            twin = Own(4, 4)
            twin.load_state_dict(self.state_dict())
            return twin

    model = live(Own(4, 4) if where == "root" else nn.Sequential(Own(4, 4)), publish)
    for _ in range(3):
        step(model)
        model.sync()
        assert_serves(model)


def test_state_dict_and_functional_calls_work_on_a_snapshot(publish: PublishMode) -> None:
    model = live(Net(), publish)
    step(model)
    model.sync()
    with model.inference_model.unwrap() as served, evaluating(model.model):
        state = served.state_dict()
        assert list(state) == list(model.model.state_dict())
        zeros = {name: torch.zeros_like(value) for name, value in served.named_parameters()}
        assert not torch.func.functional_call(served, zeros, (X,)).any()
        assert torch.equal(served(X), model.model(X))


def test_gradients_on_a_snapshot_never_reach_training(publish: PublishMode) -> None:
    model = live(nn.Linear(4, 4), publish)
    step(model)
    gradient = model.model.weight.grad
    assert gradient is not None
    copy_ = gradient.clone()
    with model.inference_model.unwrap(inference_mode=False) as served:
        served(X).sum().backward()
        assert served.weight.grad is not None
    for _ in range(4):
        model.sync()
        with model.inference_model.unwrap(inference_mode=False) as served:
            assert served.weight.grad is None, "nor another version"
    assert model.model.weight.grad is gradient
    assert torch.equal(gradient, copy_)


def test_a_model_without_tensors_is_served(publish: PublishMode) -> None:
    model = live(nn.Sequential(nn.ReLU(), nn.Dropout()), publish)
    model.sync()
    assert torch.equal(model.inference_model.infer(X), X.relu())


def test_inference_thread_only_shares_one_module(publish: PublishMode) -> None:
    model = TorchTrainingModel(Net(), publish=publish, inference_thread_only=True)
    model.sync()
    with model.inference_model.unwrap() as served:
        assert served is model.model
        assert not served.training
        assert storage_bytes(served, model.model) == storage_bytes(model.model)
    with pytest.raises(RuntimeError, match="publishes nothing"):
        model.publish_stats()
