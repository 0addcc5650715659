"""Memory is bounded: whatever graphs come, step after step holds no more than the one before."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from ..engine.models import mlp
from .conftest import Storms
from .training import loss_of, same, settle, to_host

STEPS = 200


class Changing(nn.Module):
    """Depth, widths and lengths are drawn anew for each call."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(96, 96) for _ in range(6))
        self.draw = random.Random(0)

    def forward(self, x: Tensor) -> Tensor:
        width = self.draw.choice([32, 64, 96])
        length = self.draw.randrange(4, x.shape[1])
        x = x[:, :length, :width]
        for layer in self.layers[: self.draw.randrange(1, 7)]:
            x = torch.tanh(nn.functional.linear(x, layer.weight[:width, :width], layer.bias[:width]))
        return x


def steps(model: Changing, batch: Tensor, storm: object) -> Iterator[list[Tensor]]:
    """Gradients of each step; none where the graph was dropped, some where it was dropped half-way or by an error."""
    parameters = list(model.parameters())
    for _ in range(STEPS):
        way = model.draw.randrange(8)
        if way == 0:
            with storm:  # type: ignore[attr-defined]
                model(batch)
            yield []
        elif way == 1:
            with pytest.raises(KeyError), storm:  # type: ignore[attr-defined]
                model(batch)
                raise KeyError
            yield []
        else:
            with storm:  # type: ignore[attr-defined]
                loss = loss_of(model(batch))
            found = torch.autograd.grad(loss, parameters, retain_graph=way == 2, allow_unused=True)
            if way == 2:
                found = torch.autograd.grad(loss, parameters, allow_unused=True)
            on_host = to_host(found)
            del loss, found
            yield on_host


@pytest.mark.semantics("bounded memory", "200 steps of changing graphs, some dropped: nothing grows")
def test_changing_graphs_leave_nothing(device: str, storm_of: Storms) -> None:
    torch.manual_seed(0)
    plain_model = Changing().to(device)
    model = Changing().to(device)
    model.load_state_dict(plain_model.state_dict())
    batch = torch.randn(4, 24, 96).to(device)
    plain = [tensor for found in steps(plain_model, batch, torch.enable_grad()) for tensor in found]
    storm = storm_of(model, slab_bytes="256KiB")
    ours: list[Tensor] = []
    device_bytes, pinned_bytes = [], []
    for found in steps(model, batch, storm):
        ours += found
        settle()
        assert storm.stats().host_bytes == 0
        device_bytes.append(torch.accelerator.memory_allocated())
        pinned_bytes.append(storm.stats().pinned_bytes)
    same(plain, ours)
    window = 64 * 1024
    largest = 4 * 24 * 96 * 4  # one activation, which the window may hold beyond its bound
    assert max(device_bytes) <= min(device_bytes) + window + largest
    assert max(pinned_bytes) <= 1.10 * storm.stats().peak_host_bytes
    before = max(pinned_bytes)
    for _ in steps(model, batch, storm):  # the same sizes again: they find what the pool holds
        settle()
    assert storm.stats().pinned_bytes <= before + before // 16, "host memory grows with the number of steps"


@pytest.mark.semantics("bounded memory", "200 steps of one graph: every step ends with the same bytes")
def test_equal_steps_end_with_equal_bytes(device: str, storm_of: Storms) -> None:
    torch.manual_seed(0)
    model, batch = mlp().to(device), torch.randn(64, 64).to(device)
    storm = storm_of(model)
    ends = set()
    for step in range(STEPS):
        with storm:
            loss = loss_of(model(batch))
        loss.backward()
        del loss
        torch.accelerator.synchronize()
        stats = storm.stats()
        if step >= 5:
            ends.add((stats.host_bytes, stats.pinned_bytes, stats.peak_host_bytes))
    assert len(ends) == 1


@pytest.mark.parametrize("cap", ["32KiB", "64KiB", "256KiB"])
@pytest.mark.semantics("bounded memory", "host_bytes = {cap} is a hard cap; what does not fit stays and is counted")
def test_the_host_cap_is_hard(cap: str, device: str, storm_of: Storms) -> None:
    torch.manual_seed(0)
    model, batch = mlp().to(device), torch.randn(128, 64).to(device)  # 4 x 32 KiB and more are saved
    parameters = list(model.parameters())
    plain = to_host(torch.autograd.grad(loss_of(model(batch)), parameters))
    storm = storm_of(model, host_bytes=cap, slab_bytes="32KiB", keep_last_bytes=0)
    limit = int(cap.removesuffix("KiB")) * 1024
    for _ in range(20):
        with storm:
            loss = loss_of(model(batch))
            assert storm.stats().pinned_bytes + storm.stats().pageable_bytes <= limit
        same(plain, to_host(torch.autograd.grad(loss, parameters)))
    stats = storm.stats()
    assert stats.peak_reserved_host_bytes <= limit
    assert stats.peak_host_bytes <= limit
    assert (stats.kept_host_full_tensors > 0) == (cap != "256KiB")
    assert stats.host_refusals >= stats.kept_host_full_tensors  # some fit after a wait


@pytest.mark.parametrize("window", [0, 128 * 1024, 512 * 1024])
@pytest.mark.semantics("bounded memory", "window_bytes = {window}: no more device memory waits for its copy")
def test_the_window_is_respected(window: int, device: str, storm_of: Storms) -> None:
    """A forward of many layers holds its own live tensors, and beyond them at most the window."""
    depth, size = 24, 512 * 64 * 4
    layers = [nn.Tanh() for _ in range(depth)]
    storm = storm_of(window_bytes=window, keep_last_bytes=0, prefetch_bytes=0, slab_bytes="4MiB")
    x = torch.randn(512, 64).to(device).requires_grad_()
    torch.accelerator.synchronize()
    before = torch.accelerator.memory_allocated()
    torch.accelerator.reset_peak_memory_stats()
    y = x * 1.0
    with storm:
        for layer in layers:
            y = layer(y)
    peak = torch.accelerator.max_memory_allocated() - before
    live = 2 * size  # a layer's input and output
    assert peak <= live + window + size  # plus the one that is over the window and makes compute wait
    expected = x.detach().clone().requires_grad_()
    z = expected * 1.0
    for layer in layers:
        z = layer(z)
    same(to_host(torch.autograd.grad(z.sum(), expected)), to_host(torch.autograd.grad(y.sum(), x)))


@pytest.mark.parametrize("prefetch", [0, 256 * 1024])
@pytest.mark.semantics("bounded memory", "prefetch_bytes = {prefetch}: no more is brought back ahead of backward")
def test_what_is_brought_back_ahead_is_bounded(prefetch: int, device: str, storm_of: Storms) -> None:
    depth, size = 24, 512 * 64 * 4
    storm = storm_of(window_bytes=0, keep_last_bytes=0, prefetch_bytes=prefetch, slab_bytes="4MiB")
    x = torch.randn(512, 64).to(device).requires_grad_()
    y = x * 1.0
    with storm:
        for _ in range(depth):
            y = y.tanh()
    loss = y.sum()
    del y
    torch.accelerator.synchronize()
    before = torch.accelerator.memory_allocated()
    torch.accelerator.reset_peak_memory_stats()
    torch.autograd.grad(loss, x)
    peak = torch.accelerator.max_memory_allocated() - before
    working = 4 * size  # the gradient, its successor, the output that tanh wants, and one temporary
    assert peak <= working + prefetch + size
