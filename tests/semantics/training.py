"""Training with and without offload, to the last bit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ..engine.models import identical


def settle() -> None:
    """Wait for all that is under way.

    Autograd's thread lets go of a graph only after it has said that it is done. When it has done another one behind it,
    of no bytes, it has let go.
    """
    empty = torch.zeros(0, device=torch.accelerator.current_accelerator(), requires_grad=True)
    (empty * 1.0).backward(torch.zeros_like(empty))
    torch.accelerator.synchronize()


STEPS = 50

Context = contextlib.AbstractContextManager[object]
Run = Callable[[Context], Iterable[Tensor]]


def loss_of(output: Tensor) -> Tensor:
    """A scalar: the mean square of whatever the model gives."""
    if output.is_complex():
        output = torch.view_as_real(output)
    return (output.float() ** 2).mean() if output.dtype.itemsize < 4 else (output**2).mean()


def to_host(tensors: Iterable[Tensor | None]) -> list[Tensor]:
    return [tensor.detach().cpu().resolve_conj().resolve_neg() for tensor in tensors if tensor is not None]


def record(model: nn.Module, loss: Tensor) -> list[Tensor]:
    """The loss and every gradient of a step."""
    return to_host([loss, *(p.grad for p in model.parameters())])


def train(
    model: nn.Module,
    batch: Tensor | Callable[[int], Tensor],
    context: Context,
    steps: int = STEPS,
    loss_of: Callable[[Tensor], Tensor] = loss_of,
) -> list[Tensor]:
    """Losses and gradients of every step, then the parameters and buffers, on the CPU."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    seen: list[Tensor] = []
    for step in range(steps):
        optimizer.zero_grad()
        data = batch if isinstance(batch, Tensor) else batch(step)
        with context:
            loss = loss_of(model(data))
        loss.backward()
        seen += record(model, loss)
        optimizer.step()
    return seen + to_host([*model.parameters(), *model.buffers()])


def without(run: Run) -> list[Tensor]:
    """What ``run`` gives without offload."""
    torch.manual_seed(0)
    return to_host(run(contextlib.nullcontext()))


def same(plain: list[Tensor], ours: list[Tensor]) -> None:
    """Equal bit for bit, and not all zero."""
    assert len(plain) == len(ours)
    wrong = [i for i, (a, b) in enumerate(zip(plain, ours, strict=True)) if not identical([a], [b])]
    assert wrong == [], f"{len(wrong)} of {len(plain)} tensors differ, the first is {wrong[0]}"
    assert any(bool((tensor != 0).any()) for tensor in plain), "nothing was computed"


def unchanged(run: Run, storm: Context) -> None:
    """``run`` gives the same bits in ``storm`` as in a context that does nothing."""
    plain = without(run)
    torch.manual_seed(0)
    same(plain, to_host(run(storm)))
