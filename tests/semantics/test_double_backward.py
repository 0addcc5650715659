"""`create_graph`: what was offloaded is part of the graph of the gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ..engine.models import mlp
from ..races.observe import racing
from .conftest import Storms
from .training import STEPS, Context, loss_of, record, unchanged

FUNCTIONS = {
    "elementwise": lambda x, y: (x * y).sin() * (x * 2.0).exp(),
    "matrix product": lambda x, y: (x * 1.0) @ (y * 1.0).t(),
    "linear and tanh": lambda x, y: torch.tanh(F.linear(x * 1.0, y * 1.0)),
    "softmax": lambda x, y: (x * y).softmax(-1) * (y * 1.0),
    "convolution": lambda x, y: F.conv1d((x * 1.0).view(1, 4, 6), (y * 1.0).view(2, 4, 3)[:, :, :2]),
    "layer norm": lambda x, y: F.layer_norm(x * y, (6,)),
    "views and expand": lambda x, y: (x * 1.0)[1:, ::2].unsqueeze(0).expand(3, 3, 3) ** 3 * (y * 1.0)[:3, :3],
    "in-place": lambda x, y: (x * 1.0).mul_(y * 2.0).sigmoid_() ** 2,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.semantics("double backward", "gradcheck and gradgradcheck in float64: {name}")
def test_first_and_second_derivatives_are_those_of_the_function(name: str, device: str, storm_of: Storms) -> None:
    storm = storm_of(min_bytes=1, keep_last_bytes=0, window_bytes=0, prefetch_bytes=256)
    torch.manual_seed(0)
    x, y = (torch.randn(4, 6, dtype=torch.float64).to(device).requires_grad_() for _ in range(2))

    def function(a: Tensor, b: Tensor) -> Tensor:
        with storm:
            return FUNCTIONS[name](a, b)

    assert torch.autograd.gradcheck(function, (x, y))
    assert torch.autograd.gradgradcheck(function, (x, y))


@pytest.mark.parametrize("where", ["inside", "outside", "the first inside"])
@pytest.mark.semantics("double backward", "gradient penalty (WGAN-GP), backward {where} the context, 50 steps")
def test_a_gradient_penalty_trains_the_same(where: str, device: str, storm_of: Storms) -> None:
    def penalty(score: Tensor, mixed: Tensor) -> Tensor:
        (grad,) = torch.autograd.grad(score.sum(), mixed, create_graph=True)
        return ((grad.norm(dim=1) - 1) ** 2).mean()

    def run(context: Context) -> list[Tensor]:
        critic, batch = mlp().to(device), torch.randn(32, 64).to(device)
        optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
        seen: list[Tensor] = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            mixed = (batch * 0.5).requires_grad_()
            with context:
                score = critic(mixed)
                if where != "outside":
                    loss = score.mean() + 10 * penalty(score, mixed)
                if where == "inside":
                    loss.backward()
            if where == "outside":
                loss = score.mean() + 10 * penalty(score, mixed)
            if where != "inside":
                loss.backward()
            seen += record(critic, loss)
            with (
                racing()
            ):  # with copies of weights that backward did not wait for: no model was given, nobody reads them
                optimizer.step()
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("double backward", "create_graph, then the first gradients again (retained)")
def test_a_graph_serves_first_and_second_derivatives(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), torch.randn(32, 64).to(device)
        parameters = list(model.parameters())
        with context:
            loss = loss_of(model(batch))
        first = torch.autograd.grad(loss, parameters, create_graph=True)
        second = torch.autograd.grad(sum((g**2).sum() for g in first), parameters, retain_graph=True)
        again = torch.autograd.grad(loss, parameters)
        return [*first, *second, *again]

    unchanged(run, storm_of())


@pytest.mark.semantics("double backward", "third derivatives")
def test_third_derivatives(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(32, 32, dtype=torch.float64).to(device).requires_grad_()
        with context:
            y = ((x * 1.0).sin() * (x * 2.0).exp()).sum()
            (first,) = torch.autograd.grad(y, x, create_graph=True)
            (second,) = torch.autograd.grad((first * first).sum(), x, create_graph=True)
        return [y, first, second, *torch.autograd.grad((second * x).sum(), x)]

    unchanged(run, storm_of())


@pytest.mark.semantics("double backward", "torch.autograd.functional: hessian, hvp, jacobian")
def test_autograd_functional(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(16, dtype=torch.float64).to(device)
        weight = torch.randn(16, 16, dtype=torch.float64).to(device)

        def function(v: Tensor) -> Tensor:
            return ((weight @ (v * 1.0)).sin() ** 2).sum()

        with context:
            hessian = torch.autograd.functional.hessian(function, x)
            product = torch.autograd.functional.hvp(function, x, torch.ones_like(x))[1]
            jacobian = torch.autograd.functional.jacobian(lambda v: (weight @ (v * 1.0)).sin(), x)
        return [hessian, product, jacobian]

    unchanged(run, storm_of(min_bytes=1))
