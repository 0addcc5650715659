"""Device memory is limited, counted, reused in stream order and overwritten when freed."""

import pytest
import torch

from .memory import MIB, _no_cached_segments, allocate, allocated, reserved  # noqa: F401


def test_the_limit_raises_out_of_memory_with_sizes(sim):
    before, limit = allocated(), reserved() + 40 * MIB
    sim.configure(memory=limit)
    block = allocate(26 * MIB)
    ooms = torch.accelerator.memory_stats()["num_ooms"]
    with pytest.raises(torch.OutOfMemoryError) as error:
        allocate(18 * MIB)
    message = str(error.value)
    assert f"the limit of {limit / MIB:.2f} MiB, {allocated() / MIB:.2f} MiB are in use" in message
    assert f"{(reserved() - allocated()) / MIB:.2f} MiB are reserved besides and 14.00 MiB are free" in message
    for part in ("sim:0", "Tried to allocate 18.00 MiB", "offload"):
        assert part in message
    assert torch.accelerator.memory_stats()["num_ooms"] == ooms + 1
    assert allocated() == before + 26 * MIB
    del block
    allocate(38 * MIB)


def test_freed_memory_is_available_at_once_to_its_own_stream(sim):
    sim.configure(memory=reserved() + 20 * MIB)
    with sim.hold():
        for _ in range(20):
            allocate(8 * MIB, 1.0)


def test_memory_used_by_another_stream_is_waited_for(sim, stream):
    sim.configure(memory=reserved() + 20 * MIB, d2h="50MB/s")
    block, target = allocate(8 * MIB, 1.0), torch.empty(2 * MIB, pin_memory=True)
    stream.wait_stream(torch.accelerator.current_stream())
    with stream:
        target.copy_(block, non_blocking=True)
    block.record_stream(stream)
    del block
    allocate(14 * MIB, 2.0)
    assert stream.query()
    assert target.eq(1).all()
    assert torch.accelerator.memory_stats()["num_alloc_retries"] > 0


def test_statistics_follow_allocations():
    torch.accelerator.synchronize()
    torch.accelerator.reset_peak_memory_stats()
    before = allocated()
    first, second = allocate(3 * MIB), allocate(5 * MIB)
    assert allocated() - before == 8 * MIB
    assert reserved() >= allocated()
    del first
    assert allocated() - before == 5 * MIB
    assert torch.accelerator.max_memory_allocated() - before == 8 * MIB
    torch.accelerator.reset_peak_memory_stats()
    assert torch.accelerator.max_memory_allocated() - before == 5 * MIB
    free, total = torch.accelerator.get_memory_info()
    assert total == 1 << 30
    assert free == total - reserved()
    torch.accelerator.empty_cache()
    assert second.data_ptr() % 512 == 0


def test_small_blocks_are_rounded_up_to_512_bytes():
    before = allocated()
    tensor = torch.ones(1, device="sim")
    assert allocated() - before == 512
    assert tensor.item() == 1


def race(sim, stream, protect):
    """Frees a tensor while another stream has yet to read it; returns what that stream read."""
    source = torch.ones(MIB, device="sim")
    target = torch.zeros(MIB, pin_memory=True)
    torch.accelerator.synchronize()
    with sim.hold(stream):
        with stream:
            target.copy_(source, non_blocking=True)
        if protect:
            source.record_stream(stream)
        del source
        torch.accelerator.current_stream().synchronize()
    stream.synchronize()
    return target


@pytest.mark.races_on_purpose  # it is about a race
def test_reading_freed_memory_shows_poison(sim, stream):
    assert race(sim, stream, protect=False).isnan().all()


def test_record_stream_protects_from_poison(sim, stream):
    assert race(sim, stream, protect=True).eq(1).all()


def test_an_event_wait_protects_from_poison(sim, stream):
    source = torch.ones(MIB, device="sim")
    target = torch.zeros(MIB, pin_memory=True)
    torch.accelerator.synchronize()
    with sim.hold(stream):
        with stream:
            target.copy_(source, non_blocking=True)
        torch.accelerator.current_stream().wait_event(stream.record_event())
        del source
    torch.accelerator.synchronize()
    assert target.eq(1).all()


@pytest.mark.races_on_purpose  # it is about a race
def test_poison_can_be_switched_off(sim, stream):
    sim.configure(poison=False)
    assert race(sim, stream, protect=False).eq(1).all()


def test_memory_is_active_until_recorded_streams_are_done(sim, stream):
    def active():
        return torch.accelerator.memory_stats()["active_bytes.all.current"]

    before, active_before = allocated(), active()
    block = allocate(4 * MIB)
    address = block.data_ptr()
    with sim.hold(stream):
        block.record_stream(stream)
        del block
        assert allocated() == before  # its user has let go of it
        assert allocate(4 * MIB).data_ptr() != address
        assert active() - active_before == 4 * MIB
    stream.synchronize()
    other = allocate(4 * MIB)
    assert other.data_ptr() == address
    assert active() - active_before == 4 * MIB


def test_a_freed_block_goes_to_its_own_stream_only(stream):
    block = allocate(7 * MIB)
    address = block.data_ptr()
    del block
    with stream:
        assert allocate(7 * MIB).data_ptr() != address
    assert allocate(7 * MIB).data_ptr() == address


def test_a_grown_storage_keeps_its_contents():
    tensor = torch.arange(4, device="sim")
    tensor.resize_(1000)
    assert tensor[:4].tolist() == [0, 1, 2, 3]


def test_training_steps_leave_no_memory_behind():
    layer = torch.nn.Linear(64, 64).to("sim")
    levels = []
    for _ in range(5):
        layer(torch.ones(32, 64, device="sim")).sum().backward()
        layer.zero_grad()
        torch.accelerator.synchronize()
        levels.append(allocated())
    assert len(set(levels[1:])) == 1
