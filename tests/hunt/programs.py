"""Small random programs whose gradients must not depend on where saved tensors were meanwhile."""

from __future__ import annotations

import functools
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tests.machine import DEVICE

Operation = Callable[[list[Tensor], random.Random], Tensor]
OPERATIONS: dict[str, Operation] = {}


def operation(function: Operation) -> Operation:
    OPERATIONS[function.__name__.strip("_")] = function
    return function


class Square(torch.autograd.Function):
    """Saves its input, its output and what is neither."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[override]
        y = x * x
        ctx.save_for_backward(x, y, x + 1)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
        x, y, z = ctx.saved_tensors
        return grad * (2 * x + (y - y) + (z - 1 - x) * 0)


@functools.cache
def side_streams() -> list[torch.Stream]:
    """Made once: a device has few, and gives the first ones out again, transfer streams among them."""
    return [torch.Stream(device=DEVICE) for _ in range(2)]


def pick(values: list[Tensor], rng: random.Random) -> Tensor:
    return values[rng.randrange(len(values))]


@operation
def unary(values: list[Tensor], rng: random.Random) -> Tensor:
    f = rng.choice([torch.sin, torch.tanh, torch.sigmoid, torch.relu, torch.cos, F.gelu, F.silu, torch.atan])
    return f(pick(values, rng))


@operation
def binary(values: list[Tensor], rng: random.Random) -> Tensor:
    f = rng.choice([torch.mul, torch.add, torch.sub, torch.maximum, torch.atan2])
    return f(pick(values, rng), pick(values, rng))


@operation
def matrix_product(values: list[Tensor], rng: random.Random) -> Tensor:
    x, y = pick(values, rng), pick(values, rng)
    return (x @ y.t() @ y).tanh()


@operation
def views(values: list[Tensor], rng: random.Random) -> Tensor:
    x = pick(values, rng)
    half = x.shape[0] // 2
    f = rng.randrange(4)
    if f == 0:
        return torch.cat([x[half:].sin(), x[:half].cos()])
    if f == 1:
        return x.t().sin().t()
    if f == 2:
        return x[:1].expand_as(x).sin() * x
    return x.reshape(-1)[::2].repeat_interleave(2).view_as(x) * x


@operation
def normalised(values: list[Tensor], rng: random.Random) -> Tensor:
    x = pick(values, rng)
    return rng.choice([lambda: F.layer_norm(x, x.shape[-1:]), lambda: F.softmax(x, -1), lambda: F.log_softmax(x, 0)])()


@operation
def in_place(values: list[Tensor], rng: random.Random) -> Tensor:
    return (pick(values, rng) * 0.5).add_(1.0).tanh_()


@operation
def dropped_out(values: list[Tensor], rng: random.Random) -> Tensor:
    return F.dropout(pick(values, rng), 0.25)


@operation
def other_type(values: list[Tensor], rng: random.Random) -> Tensor:
    return pick(values, rng).to(rng.choice([torch.bfloat16, torch.float64])).sin().float()


@operation
def custom(values: list[Tensor], rng: random.Random) -> Tensor:
    return Square.apply(pick(values, rng).sin())  # type: ignore[no-any-return]


@operation
def checkpointed(values: list[Tensor], rng: random.Random) -> Tensor:
    result = checkpoint(lambda x: (x.sin() * x).tanh(), pick(values, rng), use_reentrant=False)
    assert isinstance(result, Tensor)
    return result


@operation
def saved_twice(values: list[Tensor], rng: random.Random) -> Tensor:
    x = pick(values, rng) * 1.0
    return x.sin() + x.cos() * x


@dataclass(frozen=True)
class Program:
    """``operations`` random ones, drawn from ``seed``, on matrices of ``rows`` x ``columns``."""

    seed: int
    operations: int
    rows: int = 16
    columns: int = 32
    streams: int = 1  # of the forward; every crossing is ordered as torch asks for
    dropout: bool = True  # draws from the device's generator, which threads share

    def leaves(self, device: str) -> list[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        return [torch.randn(self.rows, self.columns, generator=generator).to(device).requires_grad_() for _ in range(2)]

    def loss(self, leaves: list[Tensor], streams: list[torch.Stream]) -> Tensor:
        """The same numbers each time, on the given streams."""
        rng = random.Random(self.seed)
        torch.manual_seed(self.seed)
        names = sorted(OPERATIONS if self.dropout else OPERATIONS.keys() - {"dropped_out"})
        values = list(leaves)
        home = torch.accelerator.current_stream()
        present = home
        for _ in range(self.operations):
            if self.streams > 1 and rng.random() < 0.4:
                present = cross(values, present, rng.choice([home, *streams[: self.streams - 1]]))
            with present:
                values.append(OPERATIONS[rng.choice(names)](values, rng))
        cross(values, present, home)
        loss = values[-1].square().mean()
        for value in values[2:-1]:
            if rng.random() < 0.5:
                loss = loss + value.sum() * 0.1
        return loss


def cross(values: list[Tensor], old: torch.Stream, new: torch.Stream) -> torch.Stream:
    """From now on the values are used on another stream."""
    if new != old:
        new.wait_stream(old)
        for value in values:
            value.record_stream(new)
    return new


def gradients(loss: Tensor, leaves: list[Tensor], retain: bool = False) -> list[Tensor]:
    """Of the loss by its leaves; zeros where it does not depend on one."""
    got = torch.autograd.grad(loss, leaves, retain_graph=retain, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(got, leaves, strict=True)]


def in_a_thread(body: Callable[[], list[Tensor]]) -> list[Tensor]:
    """What `body` returns or raises, run in another thread."""
    result: list[list[Tensor]] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            result.append(body())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]


def on_host(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().cpu() for tensor in tensors]


def same_bits(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    """Bit for bit, on the host: NaN equals NaN, and zero does not equal minus zero."""
    return len(ours) == len(theirs) and all(
        a.reshape(-1).contiguous().view(torch.uint8).equal(b.reshape(-1).contiguous().view(torch.uint8))
        for a, b in zip(ours, theirs, strict=True)
    )
