"""An allocation that fails elsewhere gets what the engine holds for later."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import torch

from pamiq_storm import OffloadConfig, offload, sim
from tests.machine import needs_control

ELEMENTS = 2 << 20  # 8 MiB
CONFIG = OffloadConfig(min_bytes=1024, window_bytes="64MiB", prefetch_bytes=0, keep_last_bytes=0, slab_bytes="16MiB")


@pytest.fixture
def device(device: str) -> str:
    needs_control("fills the device to the last byte")
    torch.accelerator.synchronize()
    torch.accelerator.empty_cache()
    return device


@contextlib.contextmanager
def no_more_memory() -> Iterator[None]:
    """The device has what it has handed out, and not a byte more."""
    sim.configure(memory=torch.accelerator.memory_reserved())
    try:
        yield
    finally:
        sim.configure(memory="1GiB")


def test_what_the_window_holds_is_given_up(device: str) -> None:
    storm = offload(None, CONFIG, device=device)
    x = torch.full((ELEMENTS,), 0.5, device=device, requires_grad=True)
    with sim.hold(storm.system.streams[0]):  # its copy does not end
        with storm:
            loss = (x * 1.0).sin().sum()  # only the window keeps the product on the device
        filler = torch.zeros(ELEMENTS, device=device)  # takes what `sin` gave back
        with no_more_memory():
            other = torch.ones(ELEMENTS, device=device)
    loss.backward()
    assert x.grad is not None
    assert torch.equal(x.grad.cpu(), torch.full((ELEMENTS,), 0.5).cos())
    assert other.cpu().eq(1).all()
    assert filler.cpu().eq(0).all()


def test_what_was_brought_back_ahead_is_given_up(device: str) -> None:
    config = OffloadConfig(
        min_bytes=1024, window_bytes=0, prefetch_bytes="64MiB", keep_last_bytes=0, slab_bytes="16MiB"
    )
    storm = offload(None, config, device=device)
    x = torch.full((ELEMENTS,), 0.5, device=device, requires_grad=True)
    with storm:
        first = x * 1.0
        second = first.sin()
        loss = second.cos().sum()
    del first
    (part,) = torch.autograd.grad(loss, second, retain_graph=True)  # `first` is on its way back, and nobody asks for it
    del second, part
    torch.accelerator.synchronize()
    held = torch.accelerator.memory_allocated()
    with no_more_memory():
        kept = []
        with pytest.raises(torch.OutOfMemoryError):
            while True:
                kept.append(torch.ones(ELEMENTS, device=device))
    assert held - (torch.accelerator.memory_allocated() - len(kept) * ELEMENTS * 4) >= ELEMENTS * 4
    del kept
    loss.backward()
    assert x.grad is not None
    half = torch.full((ELEMENTS,), 0.5)
    assert torch.equal(x.grad.cpu(), -half.sin().sin() * half.cos())


def test_with_nothing_held_it_is_out_of_memory_as_ever(device: str) -> None:
    storm = offload(None, CONFIG, device=device)
    x = torch.full((ELEMENTS,), 0.5, device=device, requires_grad=True)
    with storm:
        (x * 1.0).sin().sum().backward()
    torch.accelerator.synchronize()
    with no_more_memory(), pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        torch.ones(64 * ELEMENTS, device=device)
