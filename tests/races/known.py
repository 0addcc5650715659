"""Races that have been met in the field, each as a small program with the edge that its mending adds.

With ``edge`` the program is correct and must not be reported; without it the race must be, whatever the timing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

COUNT = 1 << 14


class Known(NamedTuple):
    program: Callable[[bool], None]
    kind: str
    first: str  # the operations that the report names, without their overloads
    second: str


KNOWN: dict[str, Known] = {}


def known(kind: str, first: str, second: str) -> Callable[[Callable[[bool], None]], Callable[[bool], None]]:
    def keep(program: Callable[[bool], None]) -> Callable[[bool], None]:
        KNOWN[program.__name__] = Known(program, kind, first, second)
        return program

    return keep


def stream() -> torch.Stream:
    return torch.Stream(device="sim")


def present() -> torch.Stream:
    return torch.accelerator.current_stream()


def tensor() -> Tensor:
    return torch.empty(COUNT, device="sim")


def pinned() -> Tensor:
    return torch.empty(COUNT, pin_memory=True)


def join(*sides: torch.Stream) -> None:
    """What the program still has is freed when it ends."""
    for side in sides:
        present().wait_stream(side)


@known("reuse", "copy_d2h", "free")
def freed_before_its_copy_ended(edge: bool) -> None:
    side, host, x = stream(), pinned(), tensor().fill_(1)
    side.wait_stream(present())
    with side:
        host.copy_(x, non_blocking=True)
    if edge:
        present().wait_stream(side)
    address = x.data_ptr()
    del x
    y = tensor().fill_(2)
    assert y.data_ptr() == address


@known("reuse", "copy_d2h", "free")
def freed_before_its_copy_ended_without_record_stream(edge: bool) -> None:
    side, host, x = stream(), pinned(), tensor().fill_(1)
    side.wait_stream(present())
    with side:
        host.copy_(x, non_blocking=True)
    if edge:
        x.record_stream(side)
    del x
    tensor().fill_(2)


@known("read after write", "copy_d2h", "copy_h2d")
def reloaded_before_its_offload_ended(edge: bool) -> None:  # Megatron-LM#7398
    down, up, host, x, y = stream(), stream(), pinned(), tensor().fill_(1), tensor()
    for side in (down, up):
        side.wait_stream(present())
    with down:
        host.copy_(x, non_blocking=True)
    if edge:
        up.wait_stream(down)
    with up:
        y.copy_(host, non_blocking=True)
    join(down, up)


class Offloader:
    """Asks for the stream it has to wait for when it is made, or when it is used."""

    def __init__(self, early: bool) -> None:
        self.cached = present() if early else None
        self.side = stream()

    def offload(self, x: Tensor, host: Tensor) -> None:
        self.side.wait_stream(present() if self.cached is None else self.cached)
        with self.side:
            host.copy_(x, non_blocking=True)


@known("read after write", "aten::fill_", "copy_d2h")
def a_stream_cached_too_early(edge: bool) -> None:  # torchtune 0.6.1, TRL 1.12.0
    offloader, user, host = Offloader(early=not edge), stream(), pinned()
    with user:
        x = tensor().fill_(1)
        offloader.offload(x, host)
        user.wait_stream(offloader.side)


@known("read after write", "copy_", "copy_d2h")
def a_clone_after_the_wait(edge: bool) -> None:
    side, host, x = stream(), pinned(), tensor().fill_(1)
    if edge:
        clone = x.clone()
        side.wait_stream(present())
    else:
        side.wait_stream(present())
        clone = x.clone()
    with side:
        host.copy_(clone, non_blocking=True)
    join(side)


@known("write after read", "copy_h2d", "copy_d2h")
def a_pool_buffer_reused_too_early(edge: bool) -> None:
    down, up, buffer, x, y = stream(), stream(), pinned(), tensor().fill_(1), tensor()
    for side in (down, up):
        side.wait_stream(present())
    with up:
        x.copy_(buffer, non_blocking=True)
        done = up.record_event()
    if edge:
        down.wait_event(done)
    with down:  # the pool gave the buffer to the next tensor
        buffer.copy_(y, non_blocking=True)
    join(down, up)


@known("reuse", "aten::mul", "free")
def a_reloaded_tensor_freed_while_it_is_read(edge: bool) -> None:
    up, host = stream(), pinned()
    with up:
        x = tensor()
        x.copy_(host, non_blocking=True)
    present().wait_stream(up)
    x * 2
    if edge:
        x.record_stream(present())
    del x
    with up:
        tensor().fill_(0)


@known("read after write", "aten::add", "aten::mul")
def an_event_recorded_too_early(edge: bool) -> None:
    side, x, event = stream(), tensor().fill_(1), torch.Event(device="sim")
    if edge:
        x.add_(1)
    event.record(present())
    if not edge:
        x.add_(1)
    side.wait_event(event)
    with side:
        x * 2
    join(side)


@known("read after write", "aten::fill_", "copy_d2h")
def a_stream_that_waits_for_itself(edge: bool) -> None:  # torchtitan#2581
    side, host, x = stream(), pinned(), tensor().fill_(1)
    if edge:
        side.wait_stream(present())
    with side:
        side.wait_stream(torch.accelerator.current_stream())
        host.copy_(x, non_blocking=True)
    join(side)


@known("write after read", "copy_d2h", "aten::add")
def written_in_place_while_it_is_copied(edge: bool) -> None:
    side, host, x = stream(), pinned(), tensor().fill_(1)
    side.wait_stream(present())
    with side:
        host.copy_(x, non_blocking=True)
    if edge:
        present().wait_stream(side)
    x.add_(1)


@known("write after write", "aten::add", "aten::add")
def two_streams_that_accumulate(edge: bool) -> None:
    side, total, part = stream(), tensor().fill_(0), tensor().fill_(1)
    side.wait_stream(present())
    total.add_(part)
    if edge:
        side.wait_stream(present())
    with side:
        total.add_(part)
    join(side)


@known("read after write", "copy_d2h", "aten::sum")
def read_by_the_host_too_early(edge: bool) -> None:
    host, x = pinned(), tensor().fill_(1)
    host.copy_(x, non_blocking=True)
    if edge:
        torch.accelerator.synchronize()
    host.sum()


@known("read after write", "copy_d2h", "tolist")
def listed_by_the_host_too_early(edge: bool) -> None:
    host, x = pinned(), tensor().fill_(1)
    host.copy_(x, non_blocking=True)
    if edge:
        torch.accelerator.synchronize()
    host[:4].tolist()


@known("read after write", "copy_d2h", "aten::_local_scalar_dense")
def the_host_asks_a_stream_that_has_nothing_to_do_with_it(edge: bool) -> None:
    side, host, x = stream(), pinned(), tensor().fill_(1)
    side.wait_stream(present())
    with side:
        host.copy_(x, non_blocking=True)
    (side if edge else present()).synchronize()
    float(host[0])
    join(side)


@known("write after read", "copy_h2d", "aten::fill_")
def a_staging_buffer_filled_again_too_early(edge: bool) -> None:
    host, x = pinned().fill_(1), tensor()
    x.copy_(host, non_blocking=True)
    if edge:
        present().synchronize()
    host.fill_(2)


@known("reuse", "copy_h2d", "allocation")
def pinned_memory_freed_behind_the_allocators_back(edge: bool) -> None:
    host, x = pinned(), tensor()
    alias = torch.from_numpy(host.numpy()[1:])  # the allocator does not know this address
    x[1:].copy_(alias, non_blocking=True)
    if edge:
        present().synchronize()
    address = host.data_ptr()
    del host, alias
    again = pinned()
    assert again.data_ptr() == address


@known("read after write", "aten::fill_", "aten::mul")
def hidden_by_time(edge: bool) -> None:
    side, x = stream(), tensor().fill_(1)
    event = present().record_event()
    while not event.query():  # over by now, and the host knows it
        pass
    if not edge:
        x.fill_(2)
        torch.randn(1 << 18).sort()  # long enough for it to be over, but nobody asked
    with side:
        x * 2
    join(side)


@known("write after write", "aten::fill_", "aten::fill_")
def columns_that_overlap(edge: bool) -> None:
    side, x = stream(), torch.empty(64, 64, device="sim")
    side.wait_stream(present())
    x[:, :32].fill_(1)
    with side:
        x[:, 32 if edge else 31 :].fill_(2)
    join(side)


@known("write after read", "aten::mul", "aten::fill_")
def the_host_waits_for_an_older_event(edge: bool) -> None:
    side, x = stream(), tensor().fill_(1)
    side.wait_stream(present())
    with side:
        event = side.record_event()
        x * 2
        if edge:
            event.record(side)
    event.synchronize()
    x.fill_(3)
