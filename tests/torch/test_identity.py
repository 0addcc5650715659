"""The training side owns identity: nothing of it is another object, or behaves in another way, after any sync."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pamiq_storm.torch import PublishMode, TorchTrainingModel

from .live_models import Net, X, assert_serves, expected, step


def test_nothing_of_the_training_side_is_another_object_after_20_syncs(publish: PublishMode) -> None:
    module = Net()
    module.body[1].eval()
    module.head.bias.requires_grad_(False)
    module.note = object()
    model = TorchTrainingModel(module, publish=publish)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad])
    calls: list[str] = []
    module.register_forward_hook(lambda *_: calls.append("forward"))
    module.head.register_full_backward_hook(lambda *_: calls.append("backward"))
    module.head.weight.register_hook(lambda _: calls.append("parameter"))

    def objects() -> list[object]:
        tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers()]
        return [model.model, *module.modules(), module.note, *(tensor for _, tensor in tensors)]

    def flags() -> list[bool]:
        return [child.training for child in module.modules()] + [p.requires_grad for p in module.parameters()]

    before, flags_before = objects(), flags()
    storages = [p.untyped_storage()._cdata for p in module.parameters()]
    for round_ in range(20):
        optimizer.zero_grad()
        calls.clear()
        model(X).sum().backward()
        assert sorted(calls) == ["backward", "forward", "parameter"]
        gradients = [p.grad for p in module.parameters()]
        optimizer.step()
        keys = list(optimizer.state)
        model.sync()
        assert all(a is b for a, b in zip(before, objects(), strict=True)), round_
        assert all(p.grad is g for p, g in zip(module.parameters(), gradients, strict=True))
        assert module.head.bias.grad is None
        assert all(a is b for a, b in zip(keys, optimizer.state, strict=True))
        assert flags() == flags_before
        assert [p.untyped_storage()._cdata for p in module.parameters()] == storages
        calls.clear()
        model.inference_model.infer(X)
        assert calls == [], "hooks that observe stay with training"


def test_training_with_syncs_is_bit_identical_to_training_without(publish: PublishMode) -> None:
    def train(sync: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model = TorchTrainingModel(Net(), publish=publish)
        optimizer = torch.optim.AdamW(model.model.parameters())
        held = []
        for round_ in range(12):
            optimizer.zero_grad()
            model(X).square().sum().backward()
            if sync:
                model.sync()  # between backward and step
            optimizer.step()
            if sync and round_ % 3 == 0:
                with model.inference_model.unwrap() as served:
                    held.append(served.head.weight[0])
            if sync:
                model.sync()
        return [tensor.clone() for tensor in model.model.state_dict().values()]

    for with_sync, without in zip(train(True), train(False), strict=True):
        assert torch.equal(with_sync, without)


class Saves(nn.Module):
    """Its graph holds the weight in a way of choice."""

    def __init__(self, how: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(0, 1, 16).view(4, 4))
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.how(self.weight)).square() * 2


WAYS = {
    "leaf": lambda w: w,
    "view": lambda w: w.t(),
    "clone": lambda w: w.clone(),
    "detached view": lambda w: w * w.detach(),
    "data alias": lambda w: w * w.data,
    "slice": lambda w: torch.cat([w[:2], w[2:]]),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_graph_alive_across_syncs_gives_the_right_gradients(publish: PublishMode, way: str) -> None:
    reference = Saves(WAYS[way])
    x = X.clone().requires_grad_()
    want = torch.autograd.grad(reference(x).sum(), [x, reference.weight])

    model = TorchTrainingModel(Saves(WAYS[way]), publish=publish)
    loss = model(x).sum()
    for _ in range(3):
        model.sync()
    for _ in range(2):  # with retain_graph, and a sync in between
        got = torch.autograd.grad(loss, [x, model.model.weight], retain_graph=True)
        assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
        model.sync()


def test_double_backward_across_syncs(publish: PublishMode) -> None:
    def penalty(sync: Callable[[], None], module: Saves) -> Tensor:
        x = X.clone().requires_grad_()
        loss = module(x).sum()
        sync()
        (first,) = torch.autograd.grad(loss, x, create_graph=True)
        sync()
        first.square().sum().backward()
        assert module.weight.grad is not None
        return module.weight.grad

    model = TorchTrainingModel(Saves(WAYS["view"]), publish=publish)
    assert torch.equal(penalty(model.sync, model.model), penalty(lambda: None, Saves(WAYS["view"])))


@pytest.mark.parametrize("way", ["leaf", "view"])
def test_a_graph_whose_weights_really_changed_is_torchs_own_error(publish: PublishMode, way: str) -> None:
    model = TorchTrainingModel(Saves(WAYS[way]), publish=publish)
    loss = model(X.clone().requires_grad_()).sum()
    model.sync()
    with torch.no_grad():
        model.model.weight.add_(1)
    model.sync()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_sync_leaves_version_counters_alone(publish: PublishMode) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    before = [p._version for p in model.model.parameters()]
    for _ in range(3):
        model.sync()
    assert [p._version for p in model.model.parameters()] == before


def test_addresses_never_change_when_copying() -> None:
    model = TorchTrainingModel(Net(), publish="copy")
    addresses = [p.data_ptr() for p in model.model.parameters()]
    served = set()
    for _ in range(12):
        step(model)
        model.sync()
        with model.inference_model.unwrap() as module:
            served.add(module.head.weight.data_ptr())
        assert [p.data_ptr() for p in model.model.parameters()] == addresses
    assert len(served) == 2, "three copies at rest: training's and two that are served in turn"


def test_the_training_module_can_be_copied_saved_and_pickled_between_syncs(
    publish: PublishMode, tmp_path: Path
) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    for _ in range(3):
        step(model)
        model.sync()
        now = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
        twin = copy.deepcopy(model.model)
        thawed = pickle.loads(pickle.dumps(model.model))
        buffer = io.BytesIO()
        torch.save(model.model.state_dict(), buffer)
        buffer.seek(0)
        loaded = torch.load(buffer, weights_only=True)
        model.save_state(tmp_path / "net")
        saved = torch.load(tmp_path / "net.pt", weights_only=True)
        step(model)
        model.sync()
        for state in (twin.state_dict(), thawed.state_dict(), loaded, saved):
            assert list(state) == list(now)
            assert all(torch.equal(state[name], now[name]) for name in now)


def test_a_load_is_served_at_once(publish: PublishMode, tmp_path: Path) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    step(model)
    model.save_state(tmp_path / "net")
    want = expected(model)
    for _ in range(3):
        step(model)
        model.sync()
    model.load_state(tmp_path / "net")
    assert torch.equal(model.inference_model.infer(X), want)
    assert torch.equal(expected(model), want)


@pytest.fixture(scope="module")
def process_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A group of one."""
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def _ddp_steps(wrapper: nn.Module, sync: Callable[[], None]) -> list[Tensor]:
    optimizer = torch.optim.SGD(wrapper.parameters(), lr=0.1, momentum=0.9)
    for _ in range(4):
        optimizer.zero_grad()
        wrapper(X).square().sum().backward()
        sync()
        optimizer.step()
        sync()
    return [p.detach().clone() for p in wrapper.parameters()]


@pytest.mark.parametrize("place", ["the model", "around the model", "inside the model"])
def test_distributed_data_parallel_goes_on(publish: PublishMode, process_group: None, place: str) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    want = _ddp_steps(copy.deepcopy(plain), lambda: None)
    if place == "inside the model":
        root: nn.Module = nn.Sequential(DistributedDataParallel(plain))
        model, trained = TorchTrainingModel(root, publish=publish), root
    elif place == "the model":
        trained = DistributedDataParallel(plain)
        model = TorchTrainingModel(trained, publish=publish)
        assert model.inference_model.module_class is nn.Sequential
    else:
        model = TorchTrainingModel(plain, publish=publish)
        trained = DistributedDataParallel(plain)
    got = _ddp_steps(trained, model.sync)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    assert_serves(model)


def test_a_method_of_the_wrapped_class_may_be_the_inference_procedure(
    publish: PublishMode, process_group: None
) -> None:
    class Twice(nn.Linear):
        def twice(self, x: Tensor) -> Tensor:
            return self(x) * 2

    model = TorchTrainingModel(DistributedDataParallel(Twice(4, 4)), publish=publish, inference_procedure="twice")
    step(model)
    model.sync()
    assert torch.equal(model.inference_model.infer(X), expected(model) * 2)


class Compiles:
    """A backend that runs what it is given and counts how often it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        self.count += 1
        return graph.forward


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[Compiles]:
    """In the place of the default backend."""
    torch._dynamo.reset()
    backend, compile_ = Compiles(), nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda module: compile_(module, backend=backend))
    yield backend
    torch._dynamo.reset()


def test_nothing_compiled_is_compiled_again_after_a_sync(publish: PublishMode, compiles: Compiles) -> None:
    model = TorchTrainingModel(Net(), publish=publish, compile=True)
    step(model)
    model.inference_model.infer(X)
    once = compiles.count
    assert once >= 2
    for _ in range(6):
        step(model)
        model.sync()
        model.inference_model.infer(X)
    with model.inference_model.unwrap() as old:
        for _ in range(4):
            with torch.inference_mode(False):
                step(model)
                model.sync()
            model.inference_model.infer(X)
            old(X)
    assert compiles.count == once
    torch.testing.assert_close(model.inference_model.infer(X), expected(model))


def test_code_compiled_outside_is_not_compiled_again_after_a_sync(publish: PublishMode) -> None:
    torch._dynamo.reset()
    backend = Compiles()
    model = TorchTrainingModel(Net(), publish=publish)

    @torch.compile(backend=backend)
    def loss_of(x: Tensor) -> Tensor:
        return model.model(x).square().mean()

    loss_of(X).backward()
    once = backend.count
    for _ in range(6):
        model.sync()
        loss_of(X).backward()
    assert once >= 1
    assert backend.count == once


def test_a_compiled_module_may_be_the_model(publish: PublishMode) -> None:
    model = TorchTrainingModel(torch.compile(Net(), backend="eager"), publish=publish)
    step(model)
    model.sync()
    torch.testing.assert_close(model.inference_model.infer(X), expected(model))
    assert model.inference_model.module_class is Net
