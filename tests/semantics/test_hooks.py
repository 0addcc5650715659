"""Checkpointing, the user's own saved-tensor hooks, and hooks on modules, tensors and gradients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook, save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    checkpoint_sequential,
    create_selective_checkpoint_contexts,
)
from torch.utils.hooks import RemovableHandle

from ..engine.models import mlp
from .conftest import Storms
from .training import Context, loss_of, record, train, unchanged


class Blocks(nn.Module):
    """Three blocks with dropout, each called through ``call``."""

    def __init__(self, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Dropout(0.2), nn.Linear(64, 64)) for _ in range(3)
        )
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + self.call(block, x)
        return x


def rows(device: str) -> Tensor:
    return torch.randn(32, 64).to(device)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize(
    "where", ["checkpoint inside the context", "the context inside the checkpoint", "one inside the other inside one"]
)
@pytest.mark.semantics("checkpointing", "{where}, use_reentrant={reentrant}, 50 steps")
def test_checkpoint_and_offload_compose(where: str, reentrant: bool, device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        inner = contextlib.nullcontext() if where.startswith("checkpoint") else context
        outer = contextlib.nullcontext() if where.startswith("the context") else context

        def body(block: nn.Module, x: Tensor) -> Tensor:
            with inner:
                return block(x)

        model = Blocks(lambda block, x: checkpoint(body, block, x, use_reentrant=reentrant)).to(device)
        return train(model, rows(device).requires_grad_(), outer)

    unchanged(run, storm_of())


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.semantics("checkpointing", "checkpoint_sequential, use_reentrant={reentrant}")
def test_checkpoint_sequential(reentrant: bool, device: str, storm_of: Storms) -> None:
    class Segments(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = mlp()

        def forward(self, x: Tensor) -> Tensor:
            assert isinstance(self.layers, nn.Sequential)
            return checkpoint_sequential(self.layers, 3, x, use_reentrant=reentrant)

    unchanged(lambda context: train(Segments().to(device), rows(device).requires_grad_(), context, 10), storm_of())


@pytest.mark.semantics("checkpointing", "selective: some operations saved, others recomputed")
def test_selective_checkpointing(device: str, storm_of: Storms) -> None:
    def policy(ctx: object, op: object, *args: object, **kwargs: object) -> CheckpointPolicy:
        keep = op in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        return CheckpointPolicy.MUST_SAVE if keep else CheckpointPolicy.PREFER_RECOMPUTE

    def call(block: nn.Module, x: Tensor) -> Tensor:
        contexts = lambda: create_selective_checkpoint_contexts(policy)  # noqa: E731
        return checkpoint(block, x, use_reentrant=False, context_fn=contexts)

    unchanged(lambda context: train(Blocks(call).to(device), rows(device), context, 10), storm_of())


@pytest.mark.semantics("checkpointing", "checkpoint nested in checkpoint")
def test_nested_checkpoints(device: str, storm_of: Storms) -> None:
    def call(block: nn.Module, x: Tensor) -> Tensor:
        inner = lambda y: checkpoint(block, y, use_reentrant=False)  # noqa: E731
        return checkpoint(lambda y: inner(torch.sin(y)), x, use_reentrant=False)

    unchanged(lambda context: train(Blocks(call).to(device), rows(device), context, 10), storm_of())


@pytest.mark.semantics("checkpointing", "a non-reentrant checkpoint with early stop off")
def test_checkpoint_without_early_stop(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        with torch.utils.checkpoint.set_checkpoint_early_stop(False):
            model = Blocks(lambda block, x: checkpoint(block, x, use_reentrant=False)).to(device)
            return train(model, rows(device), context, 10)

    unchanged(run, storm_of())


def user_hooks(seen: list[torch.Size]) -> saved_tensors_hooks:
    def pack(tensor: Tensor) -> Tensor:
        seen.append(tensor.shape)
        return tensor.detach().clone()

    return saved_tensors_hooks(pack, lambda tensor: tensor)


@pytest.mark.parametrize("where", ["inside a part of the context", "around the context", "beside it in one forward"])
@pytest.mark.semantics("saved-tensor hooks", "the user's hooks {where}: the innermost answers, 50 steps")
def test_users_hooks(where: str, device: str, storm_of: Storms) -> None:
    seen: list[torch.Size] = []

    class Hooked(nn.Module):
        def __init__(self, context: Context) -> None:
            super().__init__()
            self.parts = nn.ModuleList([mlp(), mlp(), mlp()])
            self.contexts = [
                context if where != "beside it in one forward" else contextlib.nullcontext(),
                user_hooks(seen) if where != "around the context" else contextlib.nullcontext(),
                context if where == "beside it in one forward" else contextlib.nullcontext(),
            ]

        def forward(self, x: Tensor) -> Tensor:
            if where == "around the context":
                with user_hooks(seen):
                    with self.contexts[0]:
                        x = self.parts[0](x)
                    return self.parts[1](x)
            if where == "inside a part of the context":
                with self.contexts[0]:
                    x = self.parts[0](x)
                    with self.contexts[1]:
                        x = self.parts[1](x)
                    return self.parts[2](x)
            with self.contexts[1]:
                x = self.parts[0](x)
            with self.contexts[2]:
                return self.parts[1](x)

    def run(context: Context) -> list[Tensor]:
        seen.clear()
        return train(Hooked(context).to(device), rows(device), contextlib.nullcontext())

    storm = storm_of()
    unchanged(run, storm)
    assert len(seen) > 0


@pytest.mark.parametrize("pin", [True, False])
@pytest.mark.parametrize("where", ["inside", "around"])
@pytest.mark.semantics("saved-tensor hooks", "save_on_cpu(pin_memory={pin}) {where} the context, 10 steps")
def test_save_on_cpu(where: str, pin: bool, device: str, storm_of: Storms) -> None:
    class Both(nn.Module):
        def __init__(self, context: Context) -> None:
            super().__init__()
            self.first, self.second, self.context = mlp(), mlp(), context

        def forward(self, x: Tensor) -> Tensor:
            outer, inner = self.context, save_on_cpu(pin_memory=pin, device_type=device)
            if where == "around":
                outer, inner = inner, outer
            with outer:
                x = self.first(x)
                with inner:
                    x = self.second(x)
            return x

    unchanged(lambda context: train(Both(context).to(device), rows(device), contextlib.nullcontext(), 10), storm_of())


@pytest.mark.semantics("saved-tensor hooks", "hooks set on one node's saved tensor (register_hooks)")
def test_hooks_of_one_saved_tensor(device: str, storm_of: Storms) -> None:
    """torch allows hooks on a saved tensor that no default hook took; with ours in force it says so."""
    x = torch.randn(64, 64).to(device).requires_grad_()
    with storm_of():
        y = (x * 1.0).sin()
    with pytest.raises(RuntimeError, match="already been set"):
        y.grad_fn._raw_saved_self.register_hooks(lambda t: t, lambda t: t)
    y.sum().backward()


@pytest.mark.semantics("saved-tensor hooks", "a node's saved tensor read by hand (grad_fn._saved_self)")
def test_saved_tensors_can_be_read(device: str, storm_of: Storms) -> None:
    x = torch.randn(64, 64).to(device).requires_grad_()
    with storm_of():
        middle = x * 1.5
        y = middle.sin()
    assert torch.equal(y.grad_fn._saved_self.cpu(), middle.detach().cpu())
    assert y.grad_fn._saved_self.grad_fn is middle.grad_fn
    y.sum().backward()


@pytest.mark.semantics("saved-tensor hooks", "disable_saved_tensors_hooks inside the context is torch's own error")
def test_disabled_hooks_inside(device: str, storm_of: Storms) -> None:
    x = torch.randn(64, 64).to(device).requires_grad_()
    with storm_of():
        y = (x * 1.0).sin()
        with (
            pytest.raises(RuntimeError, match="not here"),
            torch.autograd.graph.disable_saved_tensors_hooks("not here"),
        ):
            pass
        y = y.sin()
    y.sum().backward()


def seen_by_hooks(kind: str, model: nn.Module, x: Tensor, context: Context) -> list[Tensor]:
    """Everything that hooks of one kind see in a step, and the gradients."""
    seen: list[Tensor] = []

    def see(*args: object) -> None:
        for value in args:
            if isinstance(value, Tensor):
                seen.append(value.detach().clone())
            elif isinstance(value, tuple | list):
                see(*value)

    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Tanh)]
    for layer in layers:
        if kind == "forward":
            layer.register_forward_hook(lambda module, given, result: see(given, result))
            layer.register_forward_pre_hook(lambda module, given: see(given))
        if kind == "forward that replaces the output":
            layer.register_forward_hook(lambda module, given, result: result * 1.25)
        if kind == "full backward":
            layer.register_full_backward_hook(lambda module, given, result: see(given, result))
        if kind == "full backward pre":
            layer.register_full_backward_pre_hook(lambda module, result: see(result))
    parameters = list(model.parameters())
    handles: list[RemovableHandle] = []
    if kind == "parameters' post-accumulate":
        handles += [p.register_post_accumulate_grad_hook(lambda p: see(p.grad)) for p in parameters]
    if kind == "multi-grad":
        handles.append(register_multi_grad_hook(parameters, lambda grads: see(*grads)))
    with context:
        middle = model[:4](x)  # type: ignore[index]
        if kind == "tensor":
            middle.register_hook(lambda grad: grad * 0.5)
            middle.register_hook(see)
        if kind == "node":
            middle.grad_fn.register_hook(lambda given, result: see(given, result))
            middle.grad_fn.register_prehook(lambda result: see(result))
        if kind == "retain_grad":
            middle.retain_grad()
        loss = loss_of(model[4:](middle))  # type: ignore[index]
    loss.backward()
    for handle in handles:  # torch's hooks and parameters hold each other
        handle.remove()
    return [*seen, *([middle.grad] if kind == "retain_grad" else []), *record(model, loss)]


HOOKS = [
    "forward", "forward that replaces the output", "full backward", "full backward pre", "multi-grad", "tensor", "node",
    "parameters' post-accumulate", "retain_grad",
]  # fmt: skip


@pytest.mark.parametrize("kind", HOOKS)
@pytest.mark.semantics("hooks", "{kind} hooks see and change the same")
def test_hooks_see_the_same(kind: str, device: str, storm_of: Storms) -> None:
    unchanged(lambda context: seen_by_hooks(kind, mlp().to(device), rows(device).requires_grad_(), context), storm_of())


@pytest.mark.semantics("hooks", "an optimizer step inside backward (post-accumulate hooks), 50 steps")
def test_an_optimizer_in_backward(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), rows(device)
        optimizers = {p: torch.optim.AdamW([p], lr=1e-2) for p in model.parameters()}

        def step(parameter: Tensor) -> None:
            optimizers[parameter].step()
            optimizers[parameter].zero_grad()

        handles = [parameter.register_post_accumulate_grad_hook(step) for parameter in optimizers]
        losses: list[Tensor] = []
        for _ in range(50):
            with context:
                losses.append(loss_of(model(batch)))
            losses[-1].backward()
        for handle in handles:  # torch's hooks and parameters hold each other
            handle.remove()
        return [*losses, *model.parameters()]

    unchanged(run, storm_of())
