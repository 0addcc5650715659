"""torch.func, forward-mode derivatives and vmap inside the context."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    stack_module_state,
    vjp,
    vmap,
)

from ..engine.models import mlp
from .conftest import Refused, Storms
from .training import Context, loss_of, train, unchanged


def function(x: Tensor) -> Tensor:
    return ((x * 1.5).sin() @ (x * 0.5).exp().t()).tanh().sum()


def rows(x: Tensor) -> Tensor:
    return ((x * 1.5).sin() * (x * 0.5).exp()).sum(-1)


TRANSFORMS: dict[str, Callable[[Tensor], object]] = {
    "grad": grad(function),
    "grad_and_value": grad_and_value(function),
    "vjp": lambda x: vjp(rows, x)[1](torch.ones(x.shape[:-1], device=x.device)),
    "jvp": lambda x: jvp(rows, (x,), (torch.ones_like(x),)),
    "jacrev": lambda x: jacrev(rows)(x[:8, :8]),
    "jacfwd": lambda x: jacfwd(rows)(x[:8, :8]),
    "hessian": lambda x: hessian(function)(x[:4, :4]),
    "vmap": lambda x: vmap(lambda row: (row * 2.0).sin())(x),
    "vmap of grad (per-sample gradients)": lambda x: vmap(grad(lambda row: rows(row[None]).sum()))(x),
    "grad of vmap": lambda x: grad(lambda y: vmap(lambda row: (row * 2.0).sin().sum())(y).sum())(x),
    "grad of grad": lambda x: grad(lambda y: grad(function)(y).square().sum())(x),
    "functional.jvp (double backward trick)": lambda x: torch.autograd.functional.jvp(rows, x, torch.ones_like(x)),
}


def tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    assert isinstance(value, tuple | list)
    return [tensor for part in value for tensor in tensors(part)]


FORWARD_MODE = ("jvp", "jacfwd", "vmap", "functional.jvp (double backward trick)")
"""The others differentiate in reverse, and torch refuses that under saved-tensor hooks of any kind."""


@pytest.mark.parametrize("name", FORWARD_MODE)
@pytest.mark.semantics("torch.func", "{name} inside the context")
def test_transforms_inside_the_context(name: str, device: str, storm_of: Storms) -> None:
    """What a transform saves may be wrapped and stay; what runs beside it is offloaded as ever."""

    def run(context: Context) -> list[Tensor]:
        x = torch.randn(32, 32).to(device)
        y = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            beside = (y * 2.0).sin()
            result = tensors(TRANSFORMS[name](x))
            beside = beside.cos().sum()
        return [*result, *torch.autograd.grad(beside, y)]

    unchanged(run, storm_of())


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name not in FORWARD_MODE])
@pytest.mark.semantics("torch.func", "{name} inside the context: torch's own refusal", outcome="refused")
def test_reverse_transforms_inside_the_context(name: str, device: str, storm_of: Storms, refused: Refused) -> None:
    """What runs beside the refused transform goes on."""

    def run(context: Context) -> list[Tensor]:
        x = torch.randn(32, 32).to(device)
        y = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            beside = (y * 2.0).sin()
            if context is storm:
                with refused(RuntimeError, r"torch\.func.*saved tensor hooks"):
                    TRANSFORMS[name](x)
            beside = beside.cos().sum()
        outside = tensors(TRANSFORMS[name](x))
        return [*outside, *torch.autograd.grad(beside, y)]

    storm = storm_of()
    unchanged(run, storm)


INSIDE: dict[str, Callable[[Callable[[Tensor], Tensor], Tensor], object]] = {
    "jvp": lambda f, x: jvp(f, (x,), (torch.ones_like(x),)),
    "grad": lambda f, x: grad(lambda y: f(y).sum())(x),
    "jacrev": lambda f, x: jacrev(f)(x[:8, :8]),
    "vmap of grad (per-sample gradients)": lambda f, x: vmap(grad(f))(x),
    "grad of grad": lambda f, x: grad(lambda y: grad(lambda z: f(z).sum())(y).square().sum())(x),
}


def in_context(name: str, device: str, context: Context) -> list[Tensor]:
    """A transform of a function that enters ``context``."""

    def inside(x: Tensor) -> Tensor:
        with context:
            return ((x * 1.5).sin() * (x * 0.5).exp()).tanh().sum(-1)

    return tensors(INSIDE[name](inside, torch.randn(32, 32).to(device)))


@pytest.mark.semantics("torch.func", "jvp of a function that enters the context", moves=False)
def test_the_context_inside_a_forward_transform(device: str, storm_of: Storms) -> None:
    unchanged(lambda context: in_context("jvp", device, context), storm_of())


@pytest.mark.parametrize("name", [name for name in INSIDE if name != "jvp"])
@pytest.mark.semantics("torch.func", "{name} of a function that enters the context", outcome="refused", moves=False)
def test_the_context_inside_reverse_transforms(name: str, device: str, storm_of: Storms, refused: Refused) -> None:
    storm = storm_of()
    with refused(RuntimeError, r"(?s)(torch\.func.*outside|outside.*torch\.func)"):
        in_context(name, device, storm)


@pytest.mark.parametrize("name", ["vmap", "jvp"])
@pytest.mark.semantics("torch.func", "{name} in a forward that autograd differentiates")
def test_transforms_of_what_autograd_differentiates(name: str, device: str, storm_of: Storms) -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.tanh(self.first(x))
            if name == "vmap":
                x = vmap(lambda row: torch.sin(row * 2.0) * torch.cos(row))(x)
            else:
                x = jvp(torch.sin, (x,), (torch.ones_like(x),))[1]
            return self.second(x)

    unchanged(lambda context: train(Layer().to(device), torch.randn(32, 64).to(device), context, 10), storm_of())


@pytest.mark.semantics("torch.func", "functional_call with parameters given anew")
def test_functional_call(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), torch.randn(32, 64).to(device)
        given = {name: p.detach().clone().mul(0.5).requires_grad_() for name, p in model.named_parameters()}
        with context:
            loss = loss_of(functional_call(model, given, (batch,)))
        return [loss, *torch.autograd.grad(loss, list(given.values()))]

    unchanged(run, storm_of())


@pytest.mark.semantics("torch.func", "an ensemble: vmap over stacked parameters, differentiated by autograd")
def test_an_ensemble(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        models = [nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8)).to(device) for _ in range(3)]
        parameters, buffers = stack_module_state(models)  # type: ignore[arg-type]
        batch = torch.randn(32, 64).to(device)

        def call(p: dict[str, Tensor], b: dict[str, Tensor], x: Tensor) -> Tensor:
            return functional_call(models[0], (p, b), (x,))

        with context:
            loss = loss_of(vmap(call, (0, 0, None))(parameters, buffers, batch))
        return [loss, *torch.autograd.grad(loss, list(parameters.values()))]

    unchanged(run, storm_of())


@pytest.mark.semantics("forward-mode", "dual tensors (forward_ad) in the context, and backward through them")
def test_forward_mode_in_the_context(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()
        direction = torch.randn(64, 64).to(device)
        with torch.autograd.forward_ad.dual_level():
            with context:
                dual = torch.autograd.forward_ad.make_dual(x * 1.0, direction)
                y = (dual.sin() * dual.exp()).tanh()
            primal, tangent = torch.autograd.forward_ad.unpack_dual(y)
            return [primal, tangent, *torch.autograd.grad((primal * tangent).sum(), x)]

    unchanged(run, storm_of())
