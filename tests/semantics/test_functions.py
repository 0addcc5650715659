"""Custom autograd functions: what they save, in every way torch offers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .conftest import Storms
from .training import Context, train, unchanged


class SavesInput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * x.cos()


class SavesOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.exp().clamp(max=3.0)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return grad * y


class SavesIntermediate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        middle = x.tanh()
        ctx.save_for_backward(middle, x)
        return middle * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        middle, x = ctx.saved_tensors
        return grad * (middle + x * (1 - middle * middle))


class OnceDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * x.cos()


class SetupContext(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, scale: float) -> Tensor:
        return x.sin() * scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        x, ctx.scale = inputs
        ctx.save_for_backward(x, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, output = ctx.saved_tensors
        return grad * x.cos() * ctx.scale + 0 * output, None


class MarksDirty(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x.mul_(2.0).tanh_()
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return grad * 2.0 * (1 - y * y)


class MarksNonDifferentiable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        values, order = x.sort(dim=-1)
        ctx.mark_non_differentiable(order)
        ctx.save_for_backward(order)
        return values, order

    @staticmethod
    def backward(ctx: Any, grad: Tensor, ignored: Tensor) -> Tensor:
        (order,) = ctx.saved_tensors
        return torch.zeros_like(grad).scatter(-1, order, grad)


class SavesNone(torch.autograd.Function):
    """None among the saved, the same tensor twice, and an empty list in another place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(None, x, x, None)
        ctx.set_materialize_grads(False)
        return x.cos()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        nothing, x, again, _ = ctx.saved_tensors
        assert nothing is None
        return -grad * (x.sin() + again.sin()) / 2


class KeepsOnCtx(torch.autograd.Function):
    """Attributes of ctx are the user's own business: they are not saved tensors and stay where they are."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.x = x.detach().clone()
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        assert torch.equal(ctx.x.cpu(), ctx.saved_tensors[0].detach().cpu())
        return grad * ctx.x.cos()


FUNCTIONS = {
    "save_for_backward of an input": SavesInput.apply,
    "save_for_backward of an output": SavesOutput.apply,
    "save_for_backward of an intermediate": SavesIntermediate.apply,
    "once_differentiable": OnceDifferentiable.apply,
    "setup_context": lambda x: SetupContext.apply(x, 1.5),
    "mark_dirty": lambda x: MarksDirty.apply(x * 1.0),
    "mark_non_differentiable": lambda x: MarksNonDifferentiable.apply(x)[0],
    "None and duplicates among the saved": SavesNone.apply,
    "tensors on ctx beside saved ones": KeepsOnCtx.apply,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.semantics("custom functions", "{name}, 50 steps")
def test_custom_functions_train_the_same(name: str, device: str, storm_of: Storms) -> None:
    class Layer(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return FUNCTIONS[name](x)

    def run(context: Context) -> list[Tensor]:
        model = nn.Sequential(nn.Linear(64, 64), Layer(), nn.Linear(64, 64), Layer()).to(device)
        return train(model, torch.randn(32, 64).to(device), context)

    unchanged(run, storm_of())


@pytest.mark.semantics("custom functions", "once_differentiable: the second derivative is torch's own error")
def test_once_differentiable_twice_is_torchs_error(device: str, storm_of: Storms) -> None:
    x = torch.randn(64, 64).to(device).requires_grad_()
    with storm_of():
        y = (OnceDifferentiable.apply(x * 1.0) ** 2).sum()
    (grad,) = torch.autograd.grad(y, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()


@pytest.mark.parametrize("name", ["save_for_backward of an input", "save_for_backward of an intermediate"])
@pytest.mark.semantics("custom functions", "{name}, differentiated twice as without offload")
def test_custom_functions_differentiate_twice(name: str, device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(32, 32, dtype=torch.float64).to(device).requires_grad_()
        with context:
            y = (FUNCTIONS[name](x * 1.0) ** 2).sum()
            (grad,) = torch.autograd.grad(y, x, create_graph=True)
        return [grad, *torch.autograd.grad((grad**2).sum(), x)]

    unchanged(run, storm_of())


@pytest.mark.semantics("custom functions", "saved tensors used twice in one backward are the same values")
def test_saved_tensors_may_be_read_again(device: str, storm_of: Storms) -> None:
    class Reads(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (first,), (second,) = ctx.saved_tensors, ctx.saved_tensors
            assert torch.equal(first.cpu(), second.cpu())
            return grad * (first + second).cos()

    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            y = Reads.apply(x * 1.0).sum()
        return [y, *torch.autograd.grad(y, x)]

    unchanged(run, storm_of())
    unchanged(run, storm_of(window_bytes=0, prefetch_bytes=0, keep_last_bytes=0))


@pytest.mark.semantics("custom functions", "a saved tensor changed in place by backward harms no other taker")
def test_backward_may_change_what_it_was_given(device: str, storm_of: Storms) -> None:
    """Without us it would change the one saved tensor, and torch would say so to the next reader; both must agree."""

    class Spoils(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x * 2.0

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            x.detach().zero_()
            return grad * 2.0

    def run(context: Context) -> str | Tensor:
        torch.manual_seed(0)
        x = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            y = x * 1.5
            early = y.sin()  # its backward runs after Spoils'
            late = Spoils.apply(y)
            loss = (early + 0.0).sum() + late.sum()
        try:
            return torch.autograd.grad(loss, x)[0].cpu()
        except RuntimeError as error:
            return str(error).partition(":")[0]

    plain = run(torch.enable_grad())
    for bounds in ({}, {"window_bytes": 0, "keep_last_bytes": 0, "prefetch_bytes": 0}):
        ours = run(storm_of(**bounds))
        right = torch.randn(0)
        if isinstance(ours, Tensor):
            torch.manual_seed(0)
            x = torch.randn(64, 64).to(device).requires_grad_()
            right = torch.autograd.grad((x * 1.5).sin().sum() + (x * 1.5 * 2.0).sum(), x)[0].cpu()
            assert torch.allclose(ours, right)
        else:
            assert ours == plain
