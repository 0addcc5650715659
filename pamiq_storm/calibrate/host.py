"""What the host pays: launches, events, Python's hooks."""

from __future__ import annotations

import contextlib
import statistics
import time

import torch

from pamiq_storm.calibrate.compute import Numbers
from pamiq_storm.calibrate.meter import Meter

LAUNCHES = 200
TENSORS = 200


def measure(meter: Meter) -> Numbers:
    """All numbers of the host's side; Python's own loop is part of them."""
    one = torch.zeros(1, device=meter.device)
    launch = meter.median_host_s(lambda: one.add_(1), LAUNCHES)
    event = torch.Event(meter.device)
    stream = torch.accelerator.current_stream(meter.device)
    event.record(stream)
    calls = (lambda: event.record(stream), lambda: stream.wait_event(event), event.query)
    api = statistics.mean(meter.median_host_s(call, LAUNCHES) for call in calls)
    return {
        "launch_s": (launch, "issuing one addition, from Python"),
        "api_s": (api, "mean of an event's record, wait and query, from Python"),
        "hook_s": (_hook_s(meter.repeats), "a hook that keeps a dictionary of tensors, on CPU tensors, by real time"),
    }


def _hook_s(repeats: int) -> float:
    """Real seconds of one hook. Real even where the device's clock is virtual: that one stands still in Python."""
    with_hooks = statistics.median(_chain_s(True) for _ in range(repeats + 1))
    without = statistics.median(_chain_s(False) for _ in range(repeats + 1))
    return max((with_hooks - without) / (2 * TENSORS), 1e-7)


def _chain_s(hooked: bool) -> float:
    kept: dict[int, tuple[torch.Tensor, torch.Size, int]] = {}

    def pack(tensor: torch.Tensor) -> int:
        key = len(kept)
        kept[key] = (tensor.detach(), tensor.size(), tensor.untyped_storage().nbytes())
        return key

    def unpack(key: int) -> torch.Tensor:
        return kept.pop(key)[0]

    x = torch.zeros(8, requires_grad=True)
    begin = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack) if hooked else contextlib.nullcontext():
        y = x
        for _ in range(TENSORS):
            y = y.exp()
    y.sum().backward()
    return time.perf_counter() - begin
