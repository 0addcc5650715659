"""Memory changes hands below tensors that others hold: what holds them must not notice."""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pamiq_storm.torch import PublishMode, TorchTrainingModel

from .live_models import Net, Same, X, assert_serves, expected, step

ALIASES: dict[str, Callable[[Tensor], Any]] = {
    "data": lambda p: p.data,
    "detached": lambda p: p.detach(),
    "a piece of data": lambda p: p.data[1:],
    "transposed": lambda p: p.data.t(),
    "array": lambda p: p.detach().numpy(),
    "memory view": lambda p: memoryview(p.detach().numpy()),
    "storage": lambda p: torch.empty(0).set_(p.untyped_storage()),
    "dlpack": lambda p: torch.from_dlpack(p.detach()),
}


@pytest.mark.parametrize("kind", ALIASES)
def test_an_alias_of_a_trained_parameter_stays_one(publish: PublishMode, kind: str) -> None:
    model = TorchTrainingModel(nn.Linear(4, 4), publish=publish)
    _ = model.inference_model
    parameter = model.model.weight
    alias: Any = None
    for round_ in range(9):
        if round_ % 3 == 0:
            alias = None  # in between nobody has one, and the memory moves again
            step(model)
            model.sync()
            alias = ALIASES[kind](parameter)
        with torch.no_grad():
            parameter.fill_(float(round_))
        assert (np.asarray(alias) == round_).all()
        model.sync()
        assert_serves(model)
        with torch.no_grad():
            parameter.fill_(round_ + 0.5)
        assert (np.asarray(alias) == round_ + 0.5).all()
        if not isinstance(alias, memoryview):
            alias[...] = -1.0
            assert (parameter == -1).any()
        with model.inference_model.unwrap() as served:
            assert (served.weight == round_).all(), "what is served never changes"


def test_parameters_that_are_pieces_of_a_flat_tensor_stay_pieces_of_it(publish: PublishMode) -> None:
    flat = torch.zeros(20)
    module = nn.Linear(4, 4)
    module.weight = nn.Parameter(flat[:16].view(4, 4))
    module.bias = nn.Parameter(flat[16:])
    model = TorchTrainingModel(module, publish=publish)
    for value in range(1, 6):
        flat.fill_(value)
        model.sync()
        assert (module.weight == value).all()
        assert (module.bias == value).all()
        assert_serves(model)
        step(model)
        assert torch.equal(flat[:16].view(4, 4), module.weight)
    del flat
    for _ in range(4):
        step(model)
        model.sync()
        assert_serves(model)
        assert module.bias.data_ptr() == module.weight.data_ptr() + 64


def test_vectors_written_into_parameters_are_published(publish: PublishMode) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    for value in range(5):
        vector = nn.utils.parameters_to_vector(model.model.parameters()).detach().clone() + value
        nn.utils.vector_to_parameters(vector, model.model.parameters())
        model.sync()
        assert_serves(model)
        step(model)
        model.sync()
        assert_serves(model)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_flattened_weights_of_recurrent_layers_are_the_parameters(publish: PublishMode, kind: type[nn.RNNBase]) -> None:
    model = TorchTrainingModel(kind(4, 4, num_layers=2, bidirectional=True), publish=publish)
    for _ in range(5):
        model.model.flatten_parameters()
        model(X)[0].sum().backward()
        with torch.no_grad():
            for parameter in model.model.parameters():
                parameter.sub_(0.01)
        model.sync()
        assert torch.equal(model.inference_model.infer(X)[0], expected(model)[0])
        with model.inference_model.unwrap() as served:
            for module in (model.model, served):
                assert all(a is b for a, b in zip(module._flat_weights, module.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("where", ["forward", "backward", "gradient"])
def test_a_sync_from_inside_a_training_step_leaves_gradients_alone(publish: PublishMode, where: str) -> None:
    torch.manual_seed(0)
    reference = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4))
    module = copy.deepcopy(reference)
    model = TorchTrainingModel(module, publish=publish)
    _ = model.inference_model
    synced: list[int] = []

    def sync(*_: object) -> None:
        model.sync()
        synced.append(1)

    for child in module:
        if where == "forward":
            child.register_forward_hook(sync)
        elif where == "backward":
            child.register_full_backward_hook(sync)
    if where == "gradient":
        for parameter in module.parameters():
            parameter.register_post_accumulate_grad_hook(sync)
    for _ in range(3):
        for net in (reference, module):
            net(X).square().sum().backward()
    assert len(synced) >= 15
    for a, b in zip(reference.parameters(), module.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)
    assert_serves(model)


def test_recomputed_activations_across_a_sync(publish: PublishMode) -> None:
    reference = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
    module = copy.deepcopy(reference)
    model = TorchTrainingModel(module, publish=publish)
    x = X.clone().requires_grad_()
    losses = [checkpoint(net, x, use_reentrant=False).square().sum() for net in (reference, module)]
    for _ in range(3):
        model.sync()
    for loss in losses:
        loss.backward()
    for a, b in zip(reference.parameters(), module.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_hooks_for_saved_tensors_see_what_they_would(publish: PublishMode) -> None:
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    model = TorchTrainingModel(module, publish=publish)
    want = torch.autograd.grad(module(X).square().sum(), list(module.parameters()))
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True), torch.from_numpy):
        loss = module(X).square().sum()
    for _ in range(3):
        model.sync()
    got = torch.autograd.grad(loss, list(module.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_an_average_of_the_parameters_goes_on(publish: PublishMode) -> None:
    def train(sync: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model = TorchTrainingModel(nn.Linear(4, 4), publish=publish)
        average = torch.optim.swa_utils.AveragedModel(model.model)
        for _ in range(6):
            step(model)
            if sync:
                model.sync()
            average.update_parameters(model.model)
        return list(average.parameters())

    assert all(torch.equal(a, b) for a, b in zip(train(True), train(False), strict=True))


@pytest.mark.parametrize("fused", [False, True])
def test_optimizers_that_take_all_tensors_at_once_go_on(publish: PublishMode, fused: bool) -> None:
    def train(sync: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model = TorchTrainingModel(Net(), publish=publish)
        optimizer = torch.optim.AdamW(model.model.parameters(), fused=fused, foreach=not fused)
        for _ in range(6):
            optimizer.zero_grad(set_to_none=False)
            model(X).square().sum().backward()
            optimizer.step()
            if sync:
                model.sync()
        return list(model.model.parameters())

    assert all(torch.equal(a, b) for a, b in zip(train(True), train(False), strict=True))


def test_lazily_copied_memory_is_published(publish: PublishMode) -> None:
    original = torch.zeros(4, 4)
    module = nn.Linear(4, 4)
    module.weight = nn.Parameter(torch._lazy_clone(original))
    model = TorchTrainingModel(module, publish=publish)
    for _ in range(4):
        model.sync()
        assert_serves(model)
        step(model)
    assert not original.any()


def test_parameters_in_a_mapped_file_are_published(publish: PublishMode, tmp_path: Path) -> None:
    source = Net()
    torch.save(source.state_dict(), tmp_path / "net.pt")
    module = Net()
    module.load_state_dict(torch.load(tmp_path / "net.pt", mmap=True, weights_only=True), assign=True)
    model = TorchTrainingModel(module, publish=publish)
    for _ in range(4):
        model.sync()
        assert_serves(model)
        step(model)
    unchanged = torch.load(tmp_path / "net.pt", weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(unchanged.values(), source.state_dict().values(), strict=True))


def test_inference_tensors_as_parameters_are_published(publish: PublishMode) -> None:
    with torch.inference_mode():
        module = nn.Linear(4, 4)
    model = TorchTrainingModel(module, publish=publish)
    for _ in range(3):
        with torch.inference_mode():
            module.weight.add_(1)
        model.sync()
        assert_serves(model)


def test_served_weights_loaded_back_into_training_are_its_own(publish: PublishMode) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    with model.inference_model.unwrap(inference_mode=False) as served:
        best = served.state_dict()
    want = model.inference_model.infer(X)
    for _ in range(4):
        step(model)
        model.sync()
    model.model.load_state_dict(best)
    model.sync()
    assert torch.equal(model.inference_model.infer(X), want)
    step(model)
    model.sync()
    model.model.load_state_dict(best)
    assert torch.equal(expected(model), want)


def test_a_sync_is_the_same_in_any_mode_of_the_caller(publish: PublishMode) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    modes: list[Callable[[], Any]] = [
        torch.inference_mode,
        torch.no_grad,
        torch.enable_grad,
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.device("meta"),
        lambda: torch.autograd.set_detect_anomaly(True),
    ]
    for mode in modes:
        step(model)
        model.model.extra = nn.Parameter(torch.ones(2))  # a rebuild in that mode
        with mode():
            model.sync()
        assert_serves(model)
        step(model)
        with mode():
            model.sync()
        assert_serves(model)
        with model.inference_model.unwrap(inference_mode=False) as served:
            assert not any(tensor.is_inference() for tensor in (*served.parameters(), *served.buffers()))
            assert not any(parameter.is_meta for parameter in served.parameters())


def test_the_first_version_may_be_made_in_inference_mode(publish: PublishMode) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    with torch.inference_mode():
        _ = model.inference_model
    with model.inference_model.unwrap(inference_mode=False) as served:
        served(X).sum().backward()
    step(model)
    model.sync()
    assert_serves(model)


def test_a_save_beside_syncs_is_of_one_moment(publish: PublishMode, tmp_path: Path) -> None:
    model = TorchTrainingModel(Same(64, 4096), publish=publish)
    _ = model.inference_model
    stop = threading.Event()
    errors: list[BaseException] = []

    def trainer() -> None:
        try:
            value = 0.0
            while not stop.is_set():
                value += 1
                with model.step_lock:
                    model.model.set(value)
                model.sync()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=trainer, daemon=True)
    thread.start()
    try:
        for _ in range(12):
            model.save_state(tmp_path / "same")
            saved = torch.load(tmp_path / "same.pt", weights_only=True)
            assert len({float(value) for tensor in saved.values() for value in tensor.flatten().unique()}) == 1
    finally:
        stop.set()
        thread.join(30)
    assert not errors


def test_a_graph_that_training_dropped_is_not_kept_by_publication(publish: PublishMode) -> None:
    class Remembers(nn.Linear):
        last: Tensor | None = None

    model = TorchTrainingModel(Remembers(4, 4), publish=publish)
    _ = model.inference_model
    for _ in range(3):
        activation = torch.ones(4, 4).mul(2)
        watched = weakref.ref(activation)
        model.model.last = model.model(activation).sum()
        del activation
        model.sync()
        model.model.last = None
        assert watched() is None
