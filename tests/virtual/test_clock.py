"""What takes how long: the closed forms, checked to the nanosecond."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pamiq_storm import sim
from tests.virtual.child import Child

MiB = 1 << 20


def _machine(**numbers: float) -> sim.Profile:
    """A 4090 with round numbers; whatever a test does not ask about is free or instantaneous."""
    free = {
        "kernel_floor_s": 1e-9,
        "launch_s": 1e-9,
        "api_s": 1e-12,
        "copy_latency_s": 1e-9,
        "pin_s": 1e-9,
        "unpin_s": 1e-9,
        "pin_bytes_per_s": 1e18,
        "device_malloc_s": 1e-9,
        "device_free_s": 1e-9,
        "memory_bytes_per_s": 1e12,
        "memory_efficiency": 1.0,
        "matmul_efficiency": 1.0,
        "half_flops": 1e14,
        "tf32_flops": 4e13,
        "single_flops": 2e13,
        "double_flops": 1e12,
        "d2h_bytes_per_s": 1e10,
        "h2d_bytes_per_s": 2e10,
        "pageable_bytes_per_s": 1e9,
    }
    return sim.load_profile("rtx4090").replace(**free | numbers)


def _spans(work: Any) -> list[sim.Span]:
    torch.accelerator.synchronize()
    with sim.timeline() as recorded:
        work()
        torch.accelerator.synchronize()
    return recorded.spans


def _length(work: Any) -> int:
    (span,) = _spans(work)
    return span.end_ns - span.begin_ns


def kernels() -> dict[str, int]:
    sim.configure(profile=_machine())
    n = 1024
    bf16, single, double = (
        torch.ones(n, n, device="sim", dtype=d) for d in (torch.bfloat16, torch.float, torch.double)
    )
    out = {
        "half": _length(lambda: bf16 @ bf16),
        "single": _length(lambda: single @ single),
        "double": _length(lambda: double @ double),
        "add": _length(lambda: torch.add(single, single)),
        "in place": _length(lambda: single.mul_(2)),
        "expanded": _length(lambda: torch.add(single, single[0])),
    }
    torch.set_float32_matmul_precision("high")
    out["tf32"] = _length(lambda: single @ single)
    torch.set_float32_matmul_precision("highest")
    sim.configure(profile=_machine(kernel_floor_s=5e-6))
    out["floor"] = _length(lambda: torch.add(single[0], 1))
    return out


def test_a_kernel_takes_the_longer_of_computing_and_moving_bytes(child: Child) -> None:
    n, got = 1024, child.run(kernels)
    flops, row = 2 * n**3, n * 4
    assert got == {
        "half": round(flops / 1e5),
        "single": round(flops / 2e4),
        "double": round(flops / 1e3),
        "tf32": round(flops / 4e4),
        "add": round(3 * n * row / 1e3),
        "in place": round(2 * n * row / 1e3),
        "expanded": round((2 * n * row + row) / 1e3),
        "floor": 5000,
    }


def copies() -> dict[str, Any]:
    sim.configure(profile=_machine(copy_latency_s=1e-5))
    device, pinned = torch.ones(MiB, device="sim"), torch.ones(MiB, pin_memory=True)
    pageable = torch.ones(MiB)
    out: dict[str, Any] = {}
    for name, to, source in (
        ("d2h", pinned, device),
        ("h2d", device, pinned),
        ("pageable d2h", pageable, device),
        ("pageable h2d", device, pageable),
    ):
        torch.accelerator.synchronize()
        begin = sim.now_ns()
        with sim.timeline() as recorded:
            to.copy_(source, non_blocking=True)
            host = sim.now_ns() - begin
        (span,) = recorded.spans
        out[name] = (span.lane, span.end_ns - span.begin_ns, host)
    return out


def test_copies_cost_latency_and_bytes_and_block_where_memory_is_pageable(child: Child) -> None:
    def cost(rate: float) -> int:
        return round(1e9 * (1e-5 + 4 * MiB / rate))

    assert child.run(copies) == {
        "d2h": ("d2h", cost(1e10), 1),
        "h2d": ("h2d", cost(2e10), 1),
        "pageable d2h": ("d2h", cost(1e9), cost(1e9) + 1),
        "pageable h2d": ("h2d", cost(1e9), cost(1e9) + 1),
    }


def pipeline(bytes_each: int, count: int) -> int:
    """Kernels on one stream, each followed by the copy of its result on another."""
    sim.configure(profile=_machine(memory_bytes_per_s=2e10))
    results = [torch.empty(bytes_each, dtype=torch.uint8, device="sim") for _ in range(count)]
    hosts = [torch.empty(bytes_each, dtype=torch.uint8, pin_memory=True) for _ in range(count)]
    side, main = torch.Stream(device="sim"), torch.accelerator.current_stream()
    torch.accelerator.synchronize()
    begin = sim.now_ns()
    with sim.timeline() as recorded:
        for result, host in zip(results, hosts, strict=True):
            result.fill_(0)
            side.wait_stream(main)
            with side:
                host.copy_(result, non_blocking=True)
        torch.accelerator.synchronize()
    assert {s.lane for s in recorded.spans} == {"compute", "d2h"}
    return sim.now_ns() - begin


def test_a_pipeline_takes_as_long_as_its_slower_engine(child: Child) -> None:
    size, count = 8 * MiB, 6
    copy = 1 + round(size / 10)  # of 10 GB/s, after a kernel at 20 GB/s
    assert abs(child.run(pipeline, size, count) - (round(size / 20) + count * copy)) <= 4


def contention() -> list[int]:
    """A memory-bound kernel and a product, each alone and then beside a copy."""
    sim.configure(profile=_machine(d2h_bytes_per_s=2.5e11))
    x, y = torch.ones(4 * MiB, device="sim"), torch.ones(1024, 1024, device="sim")
    big, host = torch.ones(8 * MiB, device="sim"), torch.empty(8 * MiB, pin_memory=True)
    side = torch.Stream(device="sim")
    out = [_length(lambda: x.mul_(2)), _length(lambda: y @ y)]

    def beside(work: Any) -> Any:
        def run() -> None:
            with side:
                host.copy_(big, non_blocking=True)
            work()

        return run

    for work in (lambda: x.mul_(2), lambda: y @ y):
        (span,) = [s for s in _spans(beside(work)) if s.lane == "compute"]
        out.append(span.end_ns - span.begin_ns)
    return out


def test_copies_take_their_share_of_the_memory_s_bandwidth(child: Child) -> None:
    moving, computing, moving_beside, computing_beside = child.run(contention)
    assert computing_beside == computing
    assert moving_beside == pytest.approx(1.25 * moving, rel=1e-4)  # 250 of 1000 GB/s went to the copy


def host_times() -> dict[str, int]:
    seen: dict[str, int] = {}

    def charged(name: str, work: Any) -> None:
        torch.accelerator.synchronize()
        begin = sim.now_ns()
        work()
        seen[name] = sim.now_ns() - begin

    torch.accelerator.empty_cache()
    torch.accelerator.empty_host_cache()
    sim.configure(
        profile=_machine(
            launch_s=7e-6,
            api_s=1e-6,
            pin_s=1e-3,
            pin_bytes_per_s=1e9,
            unpin_s=4e-4,
            device_malloc_s=2e-4,
            device_free_s=3e-4,
        )
    )
    x = torch.ones(16, device="sim")
    event, stream = torch.Event(device="sim"), torch.Stream(device="sim")
    kept: list[torch.Tensor] = []
    charged("launch", lambda: x.add_(1))
    charged("record", lambda: event.record())
    charged("wait", lambda: stream.wait_event(event))
    charged("query", lambda: event.query())
    charged("advance", lambda: sim.advance(0.25))
    charged("pin", lambda: kept.append(torch.empty(MiB, dtype=torch.uint8, pin_memory=True)))
    kept.clear()
    charged("pin again", lambda: kept.append(torch.empty(MiB, dtype=torch.uint8, pin_memory=True)))
    kept.clear()
    charged("unpin", torch.accelerator.empty_host_cache)
    charged("malloc", lambda: kept.append(torch.empty(32 * MiB, dtype=torch.uint8, device="sim")))
    kept.clear()
    charged("malloc again", lambda: kept.append(torch.empty(32 * MiB, dtype=torch.uint8, device="sim")))
    kept.clear()
    charged("free", torch.accelerator.empty_cache)
    return seen


def test_the_host_is_charged_for_its_calls(child: Child) -> None:
    assert child.run(host_times) == {
        "launch": 7000,
        "record": 1000,
        "wait": 1000,
        "query": 1000,
        "advance": 250_000_000,
        "pin": 1_000_000 + MiB,
        "pin again": 0,
        "unpin": 400_000,
        "malloc": 200_000,
        "malloc again": 0,
        "free": 300_000,
    }


def pinning_waits() -> bool:
    sim.configure(profile=_machine())
    x = torch.ones(64 * MiB, device="sim")
    torch.accelerator.synchronize()
    torch.accelerator.empty_host_cache()
    event = torch.Event(device="sim")
    x.mul_(2)
    event.record()
    assert not event.query()
    kept = torch.empty(3 * MiB, pin_memory=True)
    return event.query() and kept.is_pinned()


def test_pinning_waits_for_the_device(child: Child) -> None:
    assert child.run(pinning_waits)


def events() -> dict[str, Any]:
    sim.configure(profile=_machine())
    x = torch.ones(MiB, device="sim")
    begin, end = (torch.Event(device="sim", enable_timing=True) for _ in range(2))
    torch.accelerator.synchronize()
    begin.record()
    x.mul_(2)
    x.mul_(2)
    end.record()
    early = end.query()
    sim.advance(1e-3)
    late = end.query()
    end.synchronize()
    return {"early": early, "late": late, "ms": begin.elapsed_time(end)}


def test_events_live_in_virtual_time(child: Child) -> None:
    seen = child.run(events)
    assert not seen["early"]
    assert seen["late"]
    assert seen["ms"] == pytest.approx(2e-6 * round(8 * MiB / 1e3), abs=1e-5)


def one_array() -> list[tuple[int, int]]:
    sim.configure(profile=_machine())
    x, y = torch.ones(MiB, device="sim"), torch.ones(MiB, device="sim")
    side = torch.Stream(device="sim")

    def work() -> None:
        x.mul_(2)
        with side:
            y.mul_(2)

    return [(s.begin_ns, s.end_ns) for s in _spans(work)]


def test_kernels_of_two_streams_share_the_processors(child: Child) -> None:
    (_, first_end), (second_begin, _) = child.run(one_array)
    assert second_begin == first_end


def fuzzed(seed: int) -> int:
    sim.configure(profile=_machine())
    x = torch.ones(1024, device="sim")
    torch.accelerator.synchronize()
    begin = sim.now_ns()
    with sim.fuzz(seed, "100us"):
        for _ in range(50):
            x.mul_(2)
        torch.accelerator.synchronize()
    return sim.now_ns() - begin


def stalled(factor: float) -> int:
    sim.configure(profile=_machine())
    x = torch.ones(MiB, device="sim")
    with sim.stall(torch.accelerator.current_stream(), factor):
        return _length(lambda: x.mul_(2))


def test_trouble_happens_in_virtual_time(child: Child) -> None:
    assert child.run(fuzzed, 1) == child.run(fuzzed, 1)
    assert child.run(fuzzed, 1) != child.run(fuzzed, 2)
    assert child.run(stalled, 3.0) == pytest.approx(3 * child.run(stalled, 1.0), abs=2)
