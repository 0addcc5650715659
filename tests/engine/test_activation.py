"""Activations moved by hand: `offload_activation_to_cpu` and `fetch_activation_from_cpu`.

The first public prototype of STORM had these functions, and faults. Each fault is a test here: two systems that did
not know each other, a buffer freed in mid-copy, a reload that returned random numbers, the input still held on the
device, float32 only, no events, a line printed per layer, errors swallowed, layer numbers as keys.
"""

from __future__ import annotations

import gc

import pytest
import torch
from torch import Tensor

from pamiq_storm import OffloadConfig, StormSystem, fetch_activation_from_cpu, offload_activation_to_cpu


@pytest.fixture
def system(device: str) -> StormSystem:
    return StormSystem(device, OffloadConfig(slab_bytes="4MiB", window_bytes="16MiB", host_bytes="64MiB"))


def random(*shape: int, device: str) -> Tensor:
    return torch.randn(*shape).to(device)


def test_what_is_reloaded_is_what_was_offloaded(device: str, system: StormSystem) -> None:
    x = random(128, 256, device=device)
    expected = x.cpu()
    handle = offload_activation_to_cpu(x, 3, system)
    assert handle.layer_id == 3
    del x
    assert torch.equal(fetch_activation_from_cpu(handle).cpu(), expected)
    assert torch.equal(fetch_activation_from_cpu(handle).cpu(), expected)  # as often as asked


def test_forward_and_backward_use_one_system(device: str, system: StormSystem) -> None:
    handle = offload_activation_to_cpu(random(64, 64, device=device), 0, system)
    gc.collect()
    fetch_activation_from_cpu(handle)
    stats = system.stats()
    assert stats.offloaded_tensors == 1
    assert stats.fetched_tensors + stats.returned_tensors == 1


def test_layer_numbers_are_labels_not_keys(device: str, system: StormSystem) -> None:
    a, b = random(64, 64, device=device), random(64, 64, device=device)
    expected = a.cpu(), b.cpu()
    handles = offload_activation_to_cpu(a, 0, system), offload_activation_to_cpu(b, 0, system)
    del a, b
    assert [torch.equal(fetch_activation_from_cpu(h).cpu(), e) for h, e in zip(handles, expected, strict=True)] == [
        True,
        True,
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(4096,), (8, 8, 8, 8), ()], ids=str)
def test_any_dtype_and_shape(shape: tuple[int, ...], dtype: torch.dtype, device: str, system: StormSystem) -> None:
    x = (torch.randn(shape) * 3).to(dtype).to(device)
    expected = x.cpu()
    handle = offload_activation_to_cpu(x, 0, system)
    del x
    back = fetch_activation_from_cpu(handle)
    assert back.dtype == dtype
    assert torch.equal(back.cpu(), expected)


def test_the_host_buffer_lives_through_the_copy(device: str, system: StormSystem) -> None:
    """Dropping handles right after queueing copies must not hand their buffers to the next ones in mid-copy."""
    kept = []
    for i in range(40):
        x = torch.full((256, 1024), float(i)).to(device)
        handle = offload_activation_to_cpu(x, i, system)
        if i % 2 == 0:
            kept.append((i, handle))
        del x, handle
    for i, handle in kept:
        assert torch.equal(fetch_activation_from_cpu(handle).cpu(), torch.full((256, 1024), float(i)))


def test_the_device_copy_is_given_up(device: str) -> None:
    system = StormSystem(device, OffloadConfig(slab_bytes="4MiB", window_bytes=0))
    torch.accelerator.synchronize()
    before = torch.accelerator.memory_allocated()
    handles = []
    for i in range(8):
        x = random(256, 1024, device=device)
        handles.append(offload_activation_to_cpu(x, i, system))
        del x
    assert torch.accelerator.memory_allocated() - before <= 256 * 1024 * 4
    assert len(handles) == 8


def test_copies_are_ordered_by_events_with_the_compute_stream(device: str, system: StormSystem) -> None:
    """Neither the producer nor the consumer is synchronised by hand."""
    for _ in range(10):
        x = random(512, 512, device=device)
        w = random(512, 512, device=device)
        y = (x @ w) @ w
        handle = offload_activation_to_cpu(y, 0, system)
        expected = y.clone()
        del y
        assert torch.equal((fetch_activation_from_cpu(handle) * 1.0).cpu(), expected.cpu())


def test_nothing_is_printed(device: str, system: StormSystem, capfd: pytest.CaptureFixture[str]) -> None:
    fetch_activation_from_cpu(offload_activation_to_cpu(random(64, 64, device=device), 0, system))
    torch.accelerator.synchronize()
    assert capfd.readouterr() == ("", "")


def test_errors_reach_the_caller(device: str, system: StormSystem) -> None:
    with pytest.raises(ValueError, match="the activation is on cpu, the system serves"):
        offload_activation_to_cpu(torch.zeros(4), 0, system)
    with pytest.raises(RuntimeError, match=r"of host memory are needed, the cap host_bytes = 64\.00 MiB"):
        offload_activation_to_cpu(torch.zeros(80 << 20, dtype=torch.uint8).to(device), 0, system)
    system.close()
    with pytest.raises(RuntimeError, match="is closed"):
        offload_activation_to_cpu(random(4, 4, device=device), 0, system)


def test_a_change_in_place_after_offloading_is_an_error(device: str, system: StormSystem) -> None:
    x = random(64, 64, device=device)
    handle = offload_activation_to_cpu(x, 0, system)
    x.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        fetch_activation_from_cpu(handle)
