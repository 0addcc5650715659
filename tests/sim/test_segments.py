"""Device memory is cut from segments as torch's allocator for CUDA cuts it, and runs out when it does."""

import ctypes
import os
from pathlib import Path

import pytest
import torch

from .memory import MIB, _no_cached_segments, allocate, allocated, reserved  # noqa: F401


def segments(sizes):
    """How many bytes are reserved for blocks of these sizes, from nothing cached."""
    before = reserved()
    held = [torch.empty(size, dtype=torch.uint8, device="sim") for size in sizes]
    grown = reserved() - before
    del held
    torch.accelerator.empty_cache()
    return grown


def test_segments_have_the_sizes_of_torchs_cuda_allocator(stream):
    with stream:
        assert segments([20 * MIB + 1]) == 22 * MIB
        assert segments([10 * MIB]) == 10 * MIB
        assert segments([10 * MIB - 512]) == 20 * MIB
        assert segments([MIB + 1]) == 20 * MIB
        assert segments([2 * MIB] * 10) == 20 * MIB
        assert segments([2 * MIB] * 11) == 40 * MIB


def test_small_blocks_share_segments_of_their_own(stream):
    with stream:
        assert segments([MIB]) == 2 * MIB
        assert segments([MIB, MIB]) == 2 * MIB
        assert segments([1] * 4096) == 2 * MIB
        assert segments([1] * 4097) == 4 * MIB
        assert segments([1, 2 * MIB]) == 22 * MIB


def test_a_large_block_keeps_a_rest_of_up_to_one_mebibyte(stream):
    with stream:
        before = allocated()
        held = [allocate(19 * MIB)]  # a segment of its own, of 20 MiB
        assert allocated() - before == 20 * MIB
        held.append(allocate(19 * MIB - 512))
        assert allocated() - before == 39 * MIB - 512


def test_the_smallest_block_that_fits_is_taken(stream):
    with stream:
        blocks = [allocate(size * MIB) for size in (4, 2, 6, 2, 3, 2)]  # 19 of 20 MiB, 1 MiB stays with the last
        addresses = [b.data_ptr() for b in blocks]
        blocks[0] = blocks[2] = blocks[4] = None
        assert allocate(3 * MIB).data_ptr() == addresses[4]
        assert allocate(4 * MIB).data_ptr() == addresses[0]
        assert allocate(5 * MIB).data_ptr() == addresses[2]


def test_free_neighbours_become_one_block(stream):
    with stream:
        blocks = [allocate(5 * MIB - 512) for _ in range(4)]
        first = blocks[0].data_ptr()
        before = reserved()
        blocks[1] = blocks[0] = None  # joins its next, then its previous
        blocks[2] = None
        assert allocate(9 * MIB).data_ptr() == first
        assert reserved() == before


def test_fragments_count_as_inactive_split(stream):
    def split():
        stats = torch.accelerator.memory_stats()
        return stats["inactive_split_bytes.large_pool.current"], stats["inactive_split.large_pool.current"]

    with stream:
        before = split()
        blocks = [allocate(5 * MIB) for _ in range(3)]  # of a segment of 20 MiB
        expected = {None: (5, 1), 1: (10, 2), 2: (15, 1), 0: (0, 0)}
        for freed, (size, count) in expected.items():
            if freed is not None:
                blocks[freed] = None
            assert split() == (before[0] + size * MIB, before[1] + count)


def test_a_fragmented_device_runs_out_of_memory_with_enough_bytes_free(sim, stream):
    with stream:
        sim.configure(memory=reserved() + 40 * MIB)
        blocks = [allocate(4 * MIB) for _ in range(10)]
        del blocks[::2]
        assert torch.accelerator.get_memory_info()[0] == 0
        besides = reserved() - allocated()
        assert besides >= 20 * MIB
        with pytest.raises(torch.OutOfMemoryError, match=rf"{besides / MIB:.2f} MiB are reserved besides"):
            allocate(8 * MIB)
        del blocks
        allocate(8 * MIB)


def test_unused_segments_are_given_back_before_memory_runs_out(sim, stream):
    sim.configure(memory=reserved() + 30 * MIB)
    retries = torch.accelerator.memory_stats()["num_alloc_retries"]
    before = reserved()
    with stream:
        allocate(12 * MIB)
    allocate(14 * MIB, 1.0)
    assert torch.accelerator.memory_stats()["num_alloc_retries"] == retries
    assert allocate(16 * MIB, 1.0).cpu().eq(1).all()
    assert torch.accelerator.memory_stats()["num_alloc_retries"] == retries + 1
    assert reserved() - before == 16 * MIB


def test_a_segment_is_given_back_only_when_its_stream_is_done_with_it(sim, stream):
    sim.configure(memory=reserved() + 30 * MIB, d2h="100MB/s")
    host = torch.empty(2 * MIB, pin_memory=True)
    with stream:
        host.copy_(allocate(8 * MIB, 7.0), non_blocking=True)  # takes 84 ms
    retries = torch.accelerator.memory_stats()["num_alloc_retries"]
    allocate(24 * MIB)
    assert torch.accelerator.memory_stats()["num_alloc_retries"] == retries + 1
    assert stream.query()
    assert host.eq(7).all()


def test_a_stream_never_gets_another_ones_cached_blocks(sim, stream):
    before = reserved()
    with stream:
        allocate(10 * MIB)
    assert reserved() - before == 10 * MIB
    allocate(10 * MIB)
    assert reserved() - before == 20 * MIB
    torch.accelerator.empty_cache()
    assert reserved() == before


def test_peaks_and_totals_of_reserved_memory(stream):
    with stream:
        before = reserved()
        torch.accelerator.reset_peak_memory_stats()
        allocate(12 * MIB)
        torch.accelerator.empty_cache()
        assert reserved() == before
        assert torch.accelerator.max_memory_reserved() == before + 12 * MIB
        torch.accelerator.reset_peak_memory_stats()
        assert torch.accelerator.max_memory_reserved() == before
        torch.accelerator.reset_accumulated_memory_stats()
        allocate(12 * MIB)
        stats = torch.accelerator.memory_stats()
        assert stats["reserved_bytes.large_pool.allocated"] == 12 * MIB
        assert stats["num_device_alloc"] == stats["segment.all.allocated"] == 1


def test_real_memory_stays_near_the_devices_limit(sim, stream):
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    sim.configure(memory=reserved() + 64 * MIB)
    before = resident()
    with stream:
        for size in range(11, 60, 3):
            allocate(size * MIB, 1.0)
            assert resident() - before < 80 * MIB


def pressure(act):
    """A callback for the simulator and the capsule that carries it."""
    function = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_uint16)(act)
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return function, make(ctypes.cast(function, ctypes.c_void_p).value, b"pamiq_storm.memory_pressure", None)


@pytest.fixture
def on_pressure():
    from pamiq_storm import _sim

    alive = []

    def register(act):
        function, capsule = pressure(act)
        alive.append(function)
        _sim.set_memory_pressure_callback(capsule)

    yield register
    _sim.set_memory_pressure_callback(None)


def test_others_are_asked_for_memory_before_it_runs_out(sim, on_pressure):
    sim.configure(memory=reserved() + 30 * MIB)
    hoard, asked = [allocate(12 * MIB), allocate(12 * MIB)], []

    def give_up(device):
        asked.append(device)
        if hoard:
            hoard.pop()
            return True
        return False

    on_pressure(give_up)
    allocate(16 * MIB)
    assert (len(asked), len(hoard)) == (1, 1)
    assert asked[0] & 0xFF == 20  # c10::DeviceType::PrivateUse1
    assert asked[0] >> 8 == 0
    with pytest.raises(torch.OutOfMemoryError):
        allocate(32 * MIB)
    assert (len(asked), len(hoard)) == (3, 0)


def test_nobody_is_asked_while_cached_segments_help(sim, on_pressure, stream):
    sim.configure(memory=reserved() + 30 * MIB)
    asked = []
    on_pressure(lambda device: bool(asked.append(device)))
    with stream:
        allocate(20 * MIB)
    allocate(20 * MIB)
    assert asked == []


def test_who_is_asked_may_allocate_without_being_asked_again(sim, on_pressure):
    sim.configure(memory=reserved() + 30 * MIB)
    seen = []

    def allocate_too(device):
        try:
            allocate(40 * MIB)
        except torch.OutOfMemoryError as error:
            seen.append(error)
        return False

    on_pressure(allocate_too)
    with pytest.raises(torch.OutOfMemoryError):
        allocate(34 * MIB)
    assert len(seen) == 1


def test_only_the_right_capsule_is_taken():
    from pamiq_storm import _sim

    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    with pytest.raises(ValueError, match=r"pamiq_storm\.memory_pressure"):
        _sim.set_memory_pressure_callback(make(1, b"another", None))
