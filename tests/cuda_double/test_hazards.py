"""Each way to forget an order is found, in the run in which it does no harm."""

from __future__ import annotations

import pytest
import torch

from pamiq_storm import sim
from tests.cuda_double import control

ITEMS = 1 << 16
pytestmark = pytest.mark.races_on_purpose


def kinds() -> list[str]:
    torch.cuda.synchronize()
    found = [race.kind for race in control.hazards()]
    control.clear_hazards()
    return found


def made(value: float) -> torch.Tensor:
    return torch.full((ITEMS,), value, device="cuda")


def pinned() -> torch.Tensor:
    return torch.empty(ITEMS, pin_memory=True)


def test_a_copy_that_does_not_wait_for_the_kernel(side: torch.cuda.Stream) -> None:
    x, host = made(1.0), pinned()
    with torch.cuda.stream(side):
        host.copy_(x, non_blocking=True)
    assert kinds() == ["read after write"]


def test_a_copy_that_waits(side: torch.cuda.Stream) -> None:
    x, host = made(1.0), pinned()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        host.copy_(x, non_blocking=True)
    side.synchronize()
    assert host.eq(1.0).all()
    assert kinds() == []


def test_a_kernel_that_does_not_wait_for_the_copy_back(side: torch.cuda.Stream) -> None:
    host, x = pinned().fill_(2.0), made(0.0)
    torch.cuda.synchronize()
    with torch.cuda.stream(side):
        x.copy_(host, non_blocking=True)
    x.add_(1.0)
    assert "read after write" in kinds()


def test_an_event_of_an_earlier_moment_is_no_order(side: torch.cuda.Stream) -> None:
    x, host = made(1.0), pinned()
    early = torch.cuda.Event()
    early.record()
    x.mul_(2.0)
    side.wait_event(early)
    with torch.cuda.stream(side):
        host.copy_(x, non_blocking=True)
    assert kinds() == ["read after write"]


def test_memory_freed_under_another_streams_copy(side: torch.cuda.Stream) -> None:
    x, host = made(1.0), pinned()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        host.copy_(x, non_blocking=True)
    del x
    assert kinds() == ["reuse"]


def test_record_stream_keeps_memory_from_reuse(side: torch.cuda.Stream) -> None:
    torch.cuda.empty_cache()
    x, host = made(1.0), pinned()
    side.wait_stream(torch.cuda.current_stream())
    with sim.hold(side):
        with torch.cuda.stream(side):
            host.copy_(x, non_blocking=True)
        x.record_stream(side)
        address = x.data_ptr()
        del x
        assert made(3.0).data_ptr() != address
    side.synchronize()
    assert host.eq(1.0).all()
    again = [made(4.0) for _ in range(2)]  # torch's allocator looks which events are over when it is asked
    assert address in [tensor.data_ptr() for tensor in again]
    assert kinds() == []


def test_pinned_memory_read_by_the_host_too_early(side: torch.cuda.Stream) -> None:
    x, host = made(1.0), pinned()
    host.copy_(x, non_blocking=True)
    host.sum()
    assert kinds() == ["read after write"]


def test_a_pinned_block_is_not_reused_under_its_copy(side: torch.cuda.Stream) -> None:
    x, host = made(1.0), pinned()
    address = host.data_ptr()
    with sim.hold(side):
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            host.copy_(x, non_blocking=True)
        del host
        assert pinned().data_ptr() != address
    assert kinds() == []


def test_a_pinned_address_of_ones_own_is_reused_too_early(side: torch.cuda.Stream) -> None:
    """torch keeps a block for copies it knows of; a view that hides the block's context is not one of them."""
    x, host = made(1.0), pinned()
    address = host.data_ptr()
    torch.cuda.synchronize()
    with sim.hold(side):
        with torch.cuda.stream(side):
            torch.cuda.cudart()  # the runtime itself, as an extension calls it
            control.copy_to_host(address, x, side)
        del host
        assert pinned().data_ptr() == address
    assert kinds() == ["reuse"]


def test_reports_name_stream_and_tensor(side: torch.cuda.Stream) -> None:
    x, host = made(1.0), pinned()
    with torch.cuda.stream(side):
        host.copy_(x, non_blocking=True)
    (race,) = control.hazards()
    control.clear_hazards()
    assert race.first.operation == "aten::fill_.Scalar"
    assert race.first.actor == "stream 0 of cuda:0"
    assert race.second.operation == "copy_d2h"
    assert race.second.tensor == f"src: Float [{ITEMS}]"
