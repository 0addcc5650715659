"""Tensors that are more than strided bytes: subclasses, sparse, nested, quantised, meta. They stay, and work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from tests.cuda_double import control

from .conftest import Storms
from .training import Context, loss_of, to_host, train, unchanged


class Named(Tensor):
    """A subclass by ``__torch_function__``: results keep the class and count the calls."""

    calls = 0

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        Named.calls += 1
        return super().__torch_function__(func, types, args, kwargs or {})


class Wrapped(Tensor):
    """A wrapper subclass by ``__torch_dispatch__``: two tensors that are computed with side by side."""

    a: Tensor
    b: Tensor

    @staticmethod
    def __new__(cls, a: Tensor, b: Tensor) -> Wrapped:
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, a.size(), strides=a.stride(), storage_offset=a.storage_offset(), dtype=a.dtype, device=a.device,
            requires_grad=a.requires_grad,
        )  # fmt: skip

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self.a, self.b = a, b

    def __repr__(self) -> str:  # type: ignore[override]
        return f"Wrapped({self.a}, {self.b})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def half(name: str) -> Any:
            pick = lambda value: getattr(value, name) if isinstance(value, Wrapped) else value  # noqa: E731
            return func(*tree_map(pick, args), **tree_map(pick, kwargs or {}))

        first, second = half("a"), half("b")
        if isinstance(first, Tensor):
            return Wrapped(first, second)
        return first


class OwnParameter(nn.Parameter):
    """A user's subclass of Parameter."""


def rows(device: str) -> Tensor:
    return torch.randn(32, 64).to(device)


@pytest.mark.semantics("subclasses", "__torch_function__ subclass through a model")
def test_a_torch_function_subclass(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)).to(device)
        batch = rows(device).as_subclass(Named)
        with context:
            middle = torch.sin(batch * 2.0)
            output = model(middle)
            loss = (output * output).mean()
        assert type(output) is Named
        loss.backward()
        return [t.as_subclass(Tensor) for t in to_host([loss, *(p.grad for p in model.parameters())])]

    calls = Named.calls
    unchanged(run, storm_of())
    assert Named.calls > calls


@pytest.mark.semantics("subclasses", "a saved __torch_function__ subclass keeps its class and attributes in backward")
def test_a_saved_subclass_keeps_its_class(device: str, storm_of: Storms) -> None:
    seen: list[tuple[type, object]] = []

    class Saves(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, other: Tensor) -> Tensor:
            ctx.save_for_backward(x, other)
            return x * 2.0

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
            x, other = ctx.saved_tensors
            seen.append((type(other), getattr(other, "label", None)))
            return grad * 2.0 + 0 * x.as_subclass(Tensor), None

    def run(context: Context) -> list[Tensor]:
        x = rows(device).requires_grad_()
        other = rows(device).as_subclass(Named)
        other.label = "mine"  # type: ignore[attr-defined]
        with context:
            y = Saves.apply(x * 1.0, other)
        return [y.detach(), *torch.autograd.grad(y.sum(), x)]

    unchanged(run, storm_of())
    assert seen[0] == (Named, "mine")
    assert seen[1] == seen[0], "with offload, without"


@pytest.mark.semantics("subclasses", "__torch_dispatch__ wrapper subclass: it stays on the device and is counted")
def test_a_wrapper_subclass(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = rows(device).requires_grad_()
        with context:
            pair = Wrapped(rows(device), rows(device))
            y = (x * 2.0).sin().sum()
            z = (pair * x).sin()
            loss = z.sum()
        assert isinstance(z, Wrapped)
        gradient = torch.autograd.grad(loss, x)[0]
        assert isinstance(gradient, Wrapped)
        return [gradient.a, gradient.b, *torch.autograd.grad(y, x)]

    storm = storm_of()
    unchanged(run, storm)
    assert storm.stats().kept_foreign_tensors > 0


@pytest.mark.semantics("subclasses", "Parameter subclass: it stays, its activations move, 50 steps")
def test_a_parameter_subclass(device: str, storm_of: Storms) -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = OwnParameter(torch.randn(64, 64).to(device))  # to(device) of the module may make a plain one

        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(x @ self.weight)

    storms = storm_of()
    assert type(Layer().weight) is OwnParameter
    unchanged(lambda context: train(nn.Sequential(Layer(), Layer()), rows(device), context), storms)
    assert storms.stats().kept_foreign_tensors > 0


@pytest.mark.semantics("subclasses", "lazily made and uninitialised parameters")
def test_lazy_modules(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model = nn.Sequential(nn.LazyLinear(64, device=device), nn.Tanh(), nn.LazyLinear(8, device=device))
        batch = rows(device)
        with context:
            loss = loss_of(model(batch))
        loss.backward()
        return [loss, *(p.grad for p in model.parameters() if p.grad is not None)]

    unchanged(run, storm_of())


@pytest.mark.semantics("subclasses", "parametrised modules (weight norm, spectral norm), 10 steps")
def test_parametrised_modules(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        first = torch.nn.utils.parametrizations.weight_norm(nn.Linear(64, 64))
        second = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(64, 64))
        return train(nn.Sequential(first, nn.Tanh(), second).to(device), rows(device), context, 10)

    unchanged(run, storm_of())


def nested(device: str) -> Tensor:
    try:
        values = torch.randn(48, 64).to(device)
        offsets = torch.tensor([0, 8, 20, 48]).to(device)
        made = torch.nested.nested_tensor_from_jagged(values, offsets)
        (made * 2.0).sin()
    except (RuntimeError, NotImplementedError):
        pytest.skip(f"{device} has no nested tensors")
    return made


@pytest.mark.semantics("subclasses", "nested tensors (jagged layout)")
def test_nested_tensors(device: str, storm_of: Storms) -> None:
    nested(device)

    def run(context: Context) -> list[Tensor]:
        values = torch.randn(48, 64).to(device).requires_grad_()
        offsets = torch.tensor([0, 8, 20, 48]).to(device)
        weight = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            rows = torch.nested.nested_tensor_from_jagged(values * 1.0, offsets)
            output = (rows.sin() * 2.0) @ weight
            loss = (output * output).values().sum() + (values * 3.0).cos().sum()
        return [loss, *torch.autograd.grad(loss, [values, weight])]

    unchanged(run, storm_of())


def sparse(device: str) -> None:
    if device == "cuda" and control.is_active():
        pytest.skip("the double of the CUDA runtime has no sparse kernels")
    try:
        torch.eye(4).to_sparse().to(device)
    except (RuntimeError, NotImplementedError):
        pytest.skip(f"{device} has no sparse tensors")


@pytest.mark.parametrize("place", ["the CPU", "the accelerator"])
@pytest.mark.semantics("sparse", "Embedding(sparse=True) on {place}: sparse gradients, 50 steps")
def test_sparse_gradients(place: str, device: str, storm_of: Storms) -> None:
    home = "cpu" if place == "the CPU" else device
    sparse(home)

    def run(context: Context) -> list[Tensor]:
        embedding, head = nn.Embedding(128, 32, sparse=True).to(home), nn.Linear(32, 32).to(device)
        tokens = torch.randint(0, 128, (8, 16)).to(home)
        optimizer = torch.optim.SparseAdam(list(embedding.parameters()), lr=1e-2)
        seen: list[Tensor] = []
        for _ in range(50):
            optimizer.zero_grad()
            head.zero_grad()
            with context:
                loss = loss_of(torch.tanh(head(embedding(tokens).to(device))))
            loss.backward()
            gradient = embedding.weight.grad
            assert gradient is not None
            assert gradient.is_sparse
            seen += to_host([loss, gradient.to_dense(), head.weight.grad])
            optimizer.step()
        return [*seen, embedding.weight.detach()]

    unchanged(run, storm_of())


@pytest.mark.semantics("sparse", "a sparse matrix times a dense one: the sparse one stays")
def test_a_sparse_matrix_stays(device: str, storm_of: Storms) -> None:
    sparse(device)

    def run(context: Context) -> list[Tensor]:
        matrix = torch.eye(64).to_sparse().to(device)
        x = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            y = torch.sparse.mm(matrix, (x * 1.5).sin())
            loss = (y * y).sum()
        return [loss, *torch.autograd.grad(loss, x)]

    storm = storm_of()
    unchanged(run, storm)
    assert storm.stats().kept_foreign_tensors > 0


@pytest.mark.semantics("foreign devices", "CPU tensors in the same graph stay, 50 steps")
def test_cpu_tensors_in_the_graph_stay(device: str, storm_of: Storms) -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 64).to(device)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(torch.sin(self.first(x))).to(device)
            x = torch.tanh(self.last(x))
            return torch.exp(x.cpu() * 0.5)

    storm = storm_of()
    unchanged(lambda context: train(Mixed(), torch.randn(32, 64), context), storm)
    assert storm.stats().kept_foreign_tensors > 0


@pytest.mark.semantics("foreign devices", "a model on the CPU in an accelerator's context: nothing moves", moves=False)
def test_a_cpu_model_in_the_context(device: str, storm_of: Storms) -> None:
    storm = storm_of()
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64))

    def run(context: Context) -> list[Tensor]:
        model.zero_grad()
        return train(model, torch.randn(32, 64), context, 1)[:5]

    with storm:
        loss = F.mse_loss(model(torch.randn(32, 64)), torch.zeros(32, 64))
    loss.backward()
    assert storm.stats().kept_foreign_tensors > 0
    torch.manual_seed(0)
    assert len(run(storm)) == 5


@pytest.mark.semantics("foreign devices", "meta tensors in the context: nothing moves", moves=False)
def test_meta_tensors_stay(device: str, storm_of: Storms) -> None:
    storm = storm_of()
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)).to("meta")
    with storm:
        loss = loss_of(model(torch.empty(32, 64, device="meta")))
    loss.backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())
    assert storm.stats().kept_foreign_tensors > 0


@pytest.mark.semantics("foreign devices", "fake tensors in the context: nothing moves", moves=False)
def test_fake_tensors_stay(device: str, storm_of: Storms) -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    storm = storm_of()
    with FakeTensorMode() as mode, storm:
        x = mode.from_tensor(torch.empty(64, 64)).requires_grad_()
        y = (x * 2.0).sin().sum()
        y.backward()
        assert x.grad is not None
    assert storm.stats().offloaded_tensors == 0
