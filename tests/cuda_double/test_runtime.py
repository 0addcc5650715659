"""What torch finds behind the runtime's calls: devices, memory, streams, events and copies."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
import torch

from pamiq_storm import sim
from tests.cuda_double import control

MIB = 1 << 20


def test_there_is_a_device_that_says_what_it_is() -> None:
    assert torch.cuda.is_available()
    assert torch.cuda.get_device_name(0).startswith("CUDA double")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8, torch.bool, torch.complex64])
def test_bytes_come_back(dtype: torch.dtype) -> None:
    x = torch.randint(0, 2, (1000,)).to(dtype)
    assert torch.equal(x.cuda().cpu(), x)
    assert torch.equal(x.pin_memory().to("cuda", non_blocking=True).cpu(), x)


def test_layouts_are_converted_on_the_device() -> None:
    x = torch.randn(64, 32)
    assert torch.equal(x.cuda().t().contiguous().cpu(), x.t())
    assert torch.equal(x.cuda()[::2, 1:5].double().cpu(), x[::2, 1:5].double())


def test_the_host_cannot_read_device_memory() -> None:
    script = "import torch, ctypes; x = torch.ones(4, device='cuda'); ctypes.string_at(x.data_ptr(), 4)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == -11


def test_work_is_asynchronous_and_ordered() -> None:
    x = torch.zeros(MIB, device="cuda")
    done = torch.cuda.Event()
    with sim.hold():
        x.add_(1.0)
        x.mul_(3.0)
        done.record()
        assert not done.query()
        assert not torch.cuda.current_stream().query()
    done.synchronize()
    assert x.eq(3.0).all()


def test_a_record_is_a_moment_of_its_own(side: torch.cuda.Stream) -> None:
    event = torch.cuda.Event()
    event.record()
    side.wait_event(event)
    with sim.hold():
        event.record()
        side.synchronize()  # waits for the moment before
    event.synchronize()


def test_events_have_times() -> None:
    sim.configure(d2h="100MB/s")
    try:
        x, host = torch.ones(4 * MIB, dtype=torch.uint8, device="cuda"), torch.empty(4 * MIB, dtype=torch.uint8)
        host = host.pin_memory()
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        begin.record()
        host.copy_(x, non_blocking=True)
        end.record()
        assert not end.query()  # 42 ms
        end.synchronize()
        assert begin.elapsed_time(end) > 40.0
    finally:
        sim.configure(d2h="2GB/s")
    with pytest.raises((ValueError, RuntimeError)):
        torch.cuda.Event().elapsed_time(end)


def test_pageable_copies_block() -> None:
    sim.configure(d2h="100MB/s")
    try:
        x, host = torch.ones(4 * MIB, dtype=torch.uint8, device="cuda"), torch.empty(4 * MIB, dtype=torch.uint8)
        began = time.monotonic()
        host.copy_(x, non_blocking=True)
        assert time.monotonic() - began > 0.04
        assert host.eq(1).all()
    finally:
        sim.configure(d2h="2GB/s")


def test_freed_memory_is_poisoned_in_stream_order() -> None:
    torch.cuda.empty_cache()
    x = torch.ones(MIB, device="cuda")
    y, address = x + 1, x.data_ptr()
    del x
    again = torch.empty(MIB, device="cuda")
    assert again.data_ptr() == address
    assert again.isnan().all()
    assert y.eq(2.0).all()


def test_fresh_memory_is_poisoned() -> None:
    torch.cuda.empty_cache()
    assert torch.empty(20 * MIB, device="cuda").isnan().all()


def test_memory_runs_out_and_comes_back() -> None:
    torch.cuda.empty_cache()
    with pytest.raises(torch.cuda.OutOfMemoryError, match="Tried to allocate 2"):
        torch.empty(2 << 30, dtype=torch.uint8, device="cuda")
    most = torch.empty(900 * MIB, dtype=torch.uint8, device="cuda")
    with pytest.raises(torch.cuda.OutOfMemoryError):
        torch.empty(200 * MIB, dtype=torch.uint8, device="cuda")
    del most
    assert torch.empty(200 * MIB, dtype=torch.uint8, device="cuda").nbytes == 200 * MIB


def test_cached_memory_is_torchs() -> None:
    torch.cuda.empty_cache()
    x = torch.empty(30 * MIB, dtype=torch.uint8, device="cuda")
    asked, reserved = control.calls("cudaMalloc"), torch.cuda.memory_reserved()
    del x
    y = torch.empty(30 * MIB, dtype=torch.uint8, device="cuda")
    assert control.calls("cudaMalloc") == asked
    assert torch.cuda.memory_reserved() == reserved
    assert y.nbytes == 30 * MIB


def test_registered_memory_is_pinned() -> None:
    x = torch.zeros(4 * MIB, dtype=torch.uint8)
    cudart = torch.cuda.cudart()
    assert not x.is_pinned()
    assert cudart.cudaHostRegister(x.data_ptr(), x.nbytes, 0) == 0
    assert x.is_pinned()
    with sim.hold():
        x.copy_(torch.full_like(x, 7, device="cuda"), non_blocking=True)  # does not block
    torch.cuda.synchronize()
    assert x.eq(7).all()
    assert cudart.cudaHostUnregister(x.data_ptr()) == 0
    assert not x.is_pinned()


def test_dropout_is_recomputed_bit_for_bit() -> None:
    x = torch.randn(1000, device="cuda")
    state = torch.cuda.get_rng_state()
    first = torch.nn.functional.dropout(x, 0.5)
    second = torch.nn.functional.dropout(x, 0.5)
    torch.cuda.set_rng_state(state)
    assert torch.equal(torch.nn.functional.dropout(x, 0.5), first)
    assert not torch.equal(first, second)
    torch.manual_seed(5)
    a = torch.randn(10, device="cuda")
    torch.manual_seed(5)
    assert torch.equal(torch.randn(10, device="cuda"), a)


TWO_DEVICES = """
import torch
assert torch.cuda.device_count() == 2
x = torch.arange(1000.0, device="cuda:0")
y = (x * 2).to("cuda:1")
assert (y + 1).device.index == 1
assert torch.equal((y + 1).cpu(), torch.arange(1000.0) * 2 + 1)
assert torch.equal(y.half().to("cuda:0").cpu(), (torch.arange(1000.0) * 2).half())
try:
    x + y
except RuntimeError as error:
    assert "cuda:0" in str(error) and "cuda:1" in str(error), error
else:
    raise AssertionError("tensors of two devices were added")
"""


def test_two_devices() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        capture_output=True,
        text=True,
        env=control.environment(devices=2),
    )
    assert done.returncode == 0, done.stderr
