"""The link and the memory behind it: copies both ways, page-locking, taking and giving back device memory."""

from __future__ import annotations

import statistics

import torch

from pamiq_storm.calibrate.compute import Numbers
from pamiq_storm.calibrate.meter import Meter, Operation

MIB = 1 << 20
SMALL, LARGEST = 4096, 256 * MIB


def measure(meter: Meter) -> Numbers:
    """All numbers of copies and of memory. Page-locking comes first: later on the host's cache would answer."""
    numbers = _pinning(meter) | _device_memory(meter)
    latencies: list[float] = []
    for name, to_host in (("d2h_bytes_per_s", True), ("h2d_bytes_per_s", False)):
        small = meter.queued_s(_copies(meter.device, to_host, SMALL), 50)
        rate = meter.rate(lambda n, to_host=to_host: (_copies(meter.device, to_host, n), float(n)), MIB, LARGEST)
        latencies.append(max(small - SMALL / rate, 1e-7))
        numbers[name] = rate, "large asynchronous copy, page-locked host memory"
    numbers["copy_latency_s"] = statistics.mean(latencies), "copies of 4 KiB both ways, queued, less their bytes' time"
    numbers["pageable_bytes_per_s"] = (
        _pageable(meter),
        "large blocking copies both ways, host memory as malloc gives it",
    )
    return numbers


def _copies(device: torch.device, to_host: bool, size: int) -> Operation:
    there = torch.zeros(size, dtype=torch.uint8, device=device)
    here = torch.zeros(size, dtype=torch.uint8, pin_memory=True)
    source, target = (there, here) if to_host else (here, there)
    return lambda: target.copy_(source, non_blocking=True)


def _pageable(meter: Meter) -> float:
    """By the difference of two sizes: what a copy costs whatever its size falls out."""

    def seconds(size: int) -> float:
        there = torch.zeros(size, dtype=torch.uint8, device=meter.device)
        here = torch.zeros(size, dtype=torch.uint8)

        def both_ways() -> None:
            here.copy_(there)
            there.copy_(here)
            torch.accelerator.synchronize(meter.device)

        return meter.median_host_s(both_ways)

    return 2 * 24 * MIB / max(seconds(32 * MIB) - seconds(8 * MIB), 1e-9)


def _pinning(meter: Meter) -> Numbers:
    torch.accelerator.empty_host_cache()
    held: list[torch.Tensor] = []

    def pin(size: int) -> float:
        take: Operation = lambda: held.append(torch.empty(size, dtype=torch.uint8, pin_memory=True))  # noqa: E731
        return statistics.median(meter.host_s(take) for _ in range(meter.repeats))

    small, large = pin(MIB), pin(64 * MIB)
    rate = 63 * MIB / max(large - small, 1e-9)
    blocks = len(held)
    held.clear()
    freed = meter.host_s(torch.accelerator.empty_host_cache) / blocks
    return {
        "pin_s": (max(small - MIB / rate, 1e-7), "new page-locked tensors of 1 and 64 MiB: what does not grow"),
        "pin_bytes_per_s": (rate, "new page-locked tensors of 1 and 64 MiB: what grows"),
        "unpin_s": (max(freed, 1e-7), "emptying the cache of page-locked memory, by block"),
    }


def _device_memory(meter: Meter) -> Numbers:
    torch.accelerator.empty_cache()
    held: list[torch.Tensor] = []
    take: Operation = lambda: held.append(torch.empty(32 * MIB, dtype=torch.uint8, device=meter.device))  # noqa: E731
    taken = statistics.median(meter.host_s(take) for _ in range(meter.repeats))
    blocks = len(held)
    held.clear()
    freed = meter.host_s(torch.accelerator.empty_cache) / blocks
    return {
        "device_malloc_s": (taken, "new tensors of 32 MiB with an empty cache"),
        "device_free_s": (max(freed, 1e-7), "emptying the cache, by segment"),
    }
