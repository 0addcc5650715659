"""Traces: each copy and each stall, by module, in a file that Perfetto opens."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from pamiq_storm import OffloadConfig, offload, sim, trace
from tests.machine import needs_control

CONFIG = OffloadConfig(min_bytes=1024, window_bytes=0, prefetch_bytes=0, keep_last_bytes=0, slab_bytes="1MiB")


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).sin()).cos().sum()


def step(device: str, storm: offload, **arguments: object) -> trace:
    torch.manual_seed(0)
    model = Network().to(device)
    x = (torch.randn(128, 64).to(device) * 1.0).requires_grad_()
    with trace(model, **arguments) as recorded:
        with storm:
            loss = model(x * 1.0)
        loss.backward()
    return recorded


def test_each_copy_is_recorded_with_module_tensor_and_bytes(device: str) -> None:
    storm = offload(None, CONFIG, device=device)
    recorded = step(device, storm)
    stats = storm.stats()
    copies = [event for event in recorded.events if not event.name.startswith("stall")]
    out = [event for event in copies if event.lane == "D2H"]
    back = [event for event in copies if event.lane == "H2D"]
    assert stats.offloaded_tensors == 4
    assert len(out) == stats.offloaded_tensors
    assert sum(e.bytes for e in out) == stats.offloaded_bytes
    assert len(back) == stats.fetched_tensors
    assert sum(e.bytes for e in back) == stats.fetched_bytes
    # `sin` and `cos` are Network's own; each Linear saves its input. The second one's input is what `sin` gave.
    assert Counter(e.module for e in out) == {"Network": 2, "first": 1, "second": 1}
    assert {e.tensor for e in out} == {"Float[128, 64]"}
    assert Counter(e.id for e in out) == Counter(e.id for e in back)
    assert all(e.begin >= 0 and e.seconds >= 0 and e.begin + e.seconds <= recorded.seconds for e in recorded.events)


def test_a_copy_back_comes_after_its_copy_out(device: str) -> None:
    recorded = step(device, offload(None, CONFIG, device=device))
    over = {e.id: e.begin + e.seconds for e in recorded.events if e.name == "offload"}
    assert all(over[e.id] <= e.begin + 1e-6 for e in recorded.events if e.name == "fetch")


def test_stalls_have_a_cause(device: str) -> None:
    storm = offload(None, CONFIG, device=device)
    recorded = step(device, storm)
    causes = Counter(e.name for e in recorded.events if e.name.startswith("stall"))
    assert set(causes) <= {"stall: window_full", "stall: late", "stall: arriving"}
    assert causes["stall: late"] <= storm.stats().late_fetches == 4  # a copy may be over before it is waited for
    seconds = sum(sum(module.stalls.values()) for module in recorded.modules)
    assert seconds == pytest.approx(storm.stats().stall_seconds, rel=1e-6)


def test_prefetched_bytes_are_arriving(device: str) -> None:
    needs_control("holds a copy engine back")
    config = OffloadConfig(min_bytes=1024, window_bytes=0, prefetch_bytes="1MiB", keep_last_bytes=0, slab_bytes="1MiB")
    storm = offload(None, config, device=device)
    model = Network().to(device)
    with storm:
        loss = model((torch.randn(128, 64).to(device) * 1.0).requires_grad_())
    with trace(model) as recorded, sim.hold(storm.system.streams[1]):
        loss.backward()
    assert {"stall: arriving"} <= {e.name for e in recorded.events}


def test_a_wait_for_host_memory_is_on_the_hosts_lane(device: str) -> None:
    config = OffloadConfig(
        min_bytes=1024, window_bytes=0, prefetch_bytes=0, keep_last_bytes=0, slab_bytes="64KiB", host_bytes="64KiB"
    )
    storm = offload(None, config, device=device)
    x = (torch.randn(64, 128).to(device) * 1.0).requires_grad_()
    with trace() as recorded:
        with storm:
            first = (x * 1.0).sin().sum()
        first.backward()  # its copy back may still run when the next save asks for the same host memory
        del first
        with storm:
            (x * 1.0).sin().sin().sin().sum().backward()
    for event in recorded.events:
        assert (event.lane == "host") == (event.name == "stall: host_full")


def test_statistics_by_module_add_up_to_the_engines(device: str) -> None:
    storm = offload(None, CONFIG, device=device)
    recorded = step(device, storm)
    total = storm.stats()
    for name in (
        "offloaded_tensors",
        "offloaded_bytes",
        "fetched_bytes",
        "shared_tensors",
        "kept_tensors",
        "kept_bytes",
    ):
        assert sum(getattr(m.stats, name) for m in recorded.modules) == getattr(total, name), name
    assert {m.module for m in recorded.modules} >= {"Network", "first", "second"}


def test_the_file_is_what_perfetto_reads(device: str, tmp_path: Path) -> None:
    recorded = step(device, offload(None, CONFIG, device=device), path=tmp_path / "step.json")
    rows = json.loads((tmp_path / "step.json").read_text())["traceEvents"]
    lanes = {row["args"]["name"] for row in rows if row["name"] == "thread_name"}
    assert {"D2H", "H2D"} <= lanes
    spans = [row for row in rows if row["ph"] == "X"]
    assert len(spans) == len(recorded.events)
    assert all({"ts", "dur", "pid", "tid", "name"} <= row.keys() for row in spans)
    out = next(row for row in spans if row["name"] == "offload second")
    assert out["args"]["bytes"] == 128 * 64 * 4
    assert out["args"]["tensor"] == "Float[128, 64]"
    levels = [row["args"]["bytes"] for row in rows if row["ph"] == "C"]
    assert max(levels) == 4 * 128 * 64 * 4


def test_tracing_changes_no_bit_and_leaves_no_hook(device: str) -> None:
    def gradient(traced: bool) -> torch.Tensor:
        torch.manual_seed(0)
        model = Network().to(device)
        x = torch.randn(128, 64).to(device)
        with offload(model, CONFIG):
            if traced:
                with trace(model):
                    loss = model(x)
            else:
                loss = model(x)
        loss.backward()
        return model.first.weight.grad.cpu()  # type: ignore[union-attr]

    before = len(nn.modules.module._global_forward_pre_hooks)
    assert torch.equal(gradient(True), gradient(False))
    assert len(nn.modules.module._global_forward_pre_hooks) == before


def test_an_exception_in_forward_leaves_the_labels_right(device: str) -> None:
    class Fails(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise ValueError("no")

    model = nn.Sequential(nn.Linear(64, 64), Fails()).to(device)
    storm = offload(None, CONFIG, device=device)
    x = (torch.randn(64, 64).to(device) * 1.0).requires_grad_()
    with trace(model) as recorded:
        with storm, pytest.raises(ValueError, match="no"):
            model(x)
        with storm:
            (x * 1.0).sin().sum().backward()
    assert "" in {m.module for m in recorded.modules}


def test_only_one_trace_at_a_time() -> None:
    with trace(), pytest.raises(RuntimeError, match="traced already"):
        trace().__enter__()
    with trace():
        pass


def test_the_profiler_shows_what_the_engine_does(device: str) -> None:
    storm = offload(None, CONFIG, device=device)
    x = (torch.randn(128, 64).to(device) * 1.0).requires_grad_()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        with storm:
            loss = (x * 1.0).sin().sin().sum()
        loss.backward()
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["storm::offload"] == 2
    assert counts["storm::fetch"] == 2
