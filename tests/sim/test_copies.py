"""Copies over the link: what blocks, what overlaps, what is protected."""

import time

import pytest
import torch

MB = 1_000_000


def pinned(count, value=0.0):
    return torch.full((count,), value).pin_memory()


@pytest.mark.races_on_purpose  # looks at the target before the copy
def test_pinned_copies_are_asynchronous_in_both_directions(sim, stream):
    device, up, down = torch.zeros(1000, device="sim"), pinned(1000, 7.0), pinned(1000)
    torch.accelerator.synchronize()
    with sim.hold(stream), stream:
        device.copy_(up, non_blocking=True)
        down.copy_(device, non_blocking=True)
        assert not stream.query()
        assert down.eq(0).all()
    stream.synchronize()
    assert down.eq(7).all()


@pytest.mark.races_on_purpose  # changes the source before the copy
def test_a_pinned_source_is_read_when_the_copy_runs(sim, stream):
    device, source = torch.zeros(1000, device="sim"), pinned(1000, 1.0)
    torch.accelerator.synchronize()
    with sim.hold(stream), stream:
        device.copy_(source, non_blocking=True)
        source.fill_(2.0)
    stream.synchronize()
    assert device.cpu().eq(2).all()


def test_a_pageable_source_is_staged_at_the_call(sim):
    sim.configure(h2d="100MB/s")
    device, source = torch.zeros(MB, device="sim"), torch.ones(MB)
    device.copy_(source, non_blocking=True)
    source.fill_(2.0)
    assert device.cpu().eq(1).all()


def test_a_pageable_target_blocks_the_host(sim, stream):
    sim.configure(d2h="100MB/s")
    source, target = torch.ones(MB, device="sim"), torch.zeros(MB)
    torch.accelerator.synchronize()
    with stream:
        target.copy_(source, non_blocking=True)
    assert stream.query()
    assert target.eq(1).all()


def test_a_blocking_copy_of_pinned_memory_blocks_the_host(stream):
    source, target = torch.ones(MB, device="sim"), pinned(MB)
    torch.accelerator.synchronize()
    with stream:
        target.copy_(source)
        assert stream.query()
    assert target.eq(1).all()


def timed(action):
    torch.accelerator.synchronize()
    begin = time.perf_counter()
    action()
    torch.accelerator.synchronize()
    return time.perf_counter() - begin


@pytest.fixture
def slow_link(sim):
    """Both copies take a quarter of a second each: 5 MB at 20 MB/s."""
    sim.configure(d2h="20MB/s", h2d="20MB/s")
    streams = torch.Stream(device="sim"), torch.Stream(device="sim")
    sources = torch.ones(5 * MB // 4, device="sim"), pinned(5 * MB // 4, 2.0)
    targets = pinned(5 * MB // 4), torch.zeros(5 * MB // 4, device="sim")

    def copy(direction, stream=None):
        with streams[direction] if stream is None else stream:
            targets[direction].copy_(sources[direction], non_blocking=True)

    return copy


def test_the_two_directions_overlap(slow_link):
    down, up = timed(lambda: slow_link(0)), timed(lambda: slow_link(1))
    both = timed(lambda: (slow_link(0), slow_link(1)))
    assert both < 0.75 * (down + up)


@pytest.mark.races_on_purpose  # both copies have one target
def test_copies_of_one_direction_share_the_bandwidth(slow_link, stream):
    one = timed(lambda: slow_link(0))
    two = timed(lambda: (slow_link(0), slow_link(0, stream)))
    assert two > 1.8 * min(one, 0.25)


def test_kernels_run_while_copies_are_in_flight(sim, slow_link):
    x = torch.ones(64, 64, device="sim")
    torch.accelerator.synchronize()
    busy = torch.Stream(device="sim"), torch.Stream(device="sim")
    slow_link(0, busy[0])
    slow_link(1, busy[1])
    y = x @ x
    torch.accelerator.current_stream().synchronize()
    assert not busy[0].query()
    assert not busy[1].query()
    assert y.cpu().eq(64).all()


def test_copies_take_at_least_the_time_their_bandwidth_allows(sim, slow_link):
    assert timed(lambda: slow_link(0)) >= 0.25
    assert timed(lambda: slow_link(1)) >= 0.25


def test_pageable_copies_use_their_own_bandwidth(sim):
    sim.configure(h2d="1GB/s", pageable="20MB/s")
    device = torch.zeros(MB // 4, device="sim")
    assert timed(lambda: device.copy_(torch.ones(MB // 4))) >= 0.05


def test_statistics_count_copies_and_bytes(sim):
    device, host = torch.zeros(1000, device="sim"), pinned(1000)
    torch.accelerator.synchronize()
    sim.reset_stats()
    device.copy_(host, non_blocking=True)
    host.copy_(device, non_blocking=True)
    torch.accelerator.synchronize()
    stats = sim.stats()
    assert (stats.h2d_copies, stats.h2d_bytes) == (1, 4000)
    assert (stats.d2h_copies, stats.d2h_bytes) == (1, 4000)
    assert stats.d2h_busy_s > 0
    assert stats.h2d_busy_s > 0


@pytest.mark.parametrize("pin", [True, False])
@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.t(),
        lambda t: t[::2, 1::3],
        lambda t: t.to(torch.bfloat16),
        lambda t: t[0].expand(5, -1),
        lambda t: t[:0],
        lambda t: t[1, 2],
    ],
    ids=["transposed", "strided", "cast", "expanded", "empty", "scalar"],
)
def test_any_layout_survives_the_round_trip(change, pin):
    host = torch.randn(6, 9)
    expected = change(host)
    device = change(host.to("sim"))
    target = torch.empty(expected.shape, dtype=expected.dtype, pin_memory=pin)
    target.copy_(device, non_blocking=True)
    torch.accelerator.synchronize()
    assert torch.equal(target, expected)
    back = torch.zeros_like(device).copy_(change(host.pin_memory() if pin else host))
    assert torch.equal(back.cpu(), expected)


def test_conversion_happens_in_the_copy():
    host = torch.arange(5)
    device = torch.empty(5, device="sim").copy_(host)
    assert torch.equal(device.cpu(), host.float())
    assert torch.equal(torch.empty(5, dtype=torch.float64).copy_(device), host.double())


def test_a_pinned_block_is_not_reused_before_its_copy_is_over(sim, stream):
    device, block = torch.zeros(3000, device="sim"), pinned(3000)
    address = block.data_ptr()
    torch.accelerator.synchronize()
    with sim.hold(stream):
        with stream:
            device.copy_(block, non_blocking=True)
        del block
        other = torch.empty(3000, pin_memory=True)
        assert other.data_ptr() != address
    stream.synchronize()
    assert torch.empty(3000, pin_memory=True).data_ptr() == address


def test_addresses_inside_pinned_memory_are_pinned():
    block = torch.empty(1000, pin_memory=True)
    assert block.is_pinned()
    assert block[500:].is_pinned()
    assert torch.ones(3).pin_memory().is_pinned()
    assert not torch.ones(1000).is_pinned()
    assert not torch.ones(3, device="sim").is_pinned()


def test_pinned_bytes_are_counted(sim):
    torch.accelerator.empty_host_cache()
    sim.reset_stats()
    before = sim.stats().pinned_bytes
    block = torch.empty(1 << 20, dtype=torch.uint8, pin_memory=True)
    assert sim.stats().pinned_bytes - before == 1 << 20
    del block
    torch.accelerator.empty_host_cache()
    assert sim.stats().pinned_bytes == before
    assert sim.stats().peak_pinned_bytes - before == 1 << 20
