"""Who waits for whom: a sync behind a long inference, and long inferences beside each other."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from pamiq_storm.bench.publish.arms import MakeLive
from pamiq_storm.bench.publish.networks import Size, Tower
from pamiq_storm.bench.publish.rounds import row, settle, timed_ms
from pamiq_storm.bench.publish.setting import Advance, Part, Setting
from pamiq_storm.results import PublishRow

BEHIND = "sync behind a long inference"
TOGETHER = "four long inferences at once, all of them"
READERS = 4
SYNCS = 3
"""Syncs asked for while one inference runs: the second finds the spare memory taken."""
SIZE = Size(1e6, 480)


def steps(setting: Setting) -> int:
    """Calls of `advance`."""
    return len(setting.arms)


def measure(setting: Setting, advance: Advance) -> Part:
    """The longest sync behind an inference that takes its time, and four such inferences together."""
    rows: list[PublishRow] = []
    longest: dict[str, float] = {}
    together: dict[str, float] = {}
    size = SIZE if setting.plan.inference_s >= 0.5 else setting.plan.live
    for name, make in setting.arms.items():
        torch.manual_seed(0)
        model = Tower(size).to(setting.device)
        waits = [t for _ in range(setting.plan.inference_rounds) for t in _syncs_behind(setting, make, model)]
        totals = [_readers_together(setting, make, model) for _ in range(setting.plan.inference_rounds)]
        rows += [row(name, setting.case(BEHIND), model, waits), row(name, setting.case(TOGETHER), model, totals)]
        longest[name], together[name] = max(waits), min(totals)
        advance()
    inference_ms = setting.plan.inference_s * 1e3
    facts = {
        "inference_ms": inference_ms,
        "longest_sync_behind_inference_ms": longest,
        "inferences_together_ms": together,
    }
    return Part(rows, facts)


def _syncs_behind(setting: Setting, make: MakeLive, model: nn.Module) -> list[float]:
    inside = threading.Event()

    def procedure(module: nn.Module, x: Tensor) -> Tensor:
        y = module(x)
        inside.set()
        time.sleep(setting.plan.inference_s)
        return y

    live, x = make(model, procedure), _input(model)
    _ = live.inference_model
    live.sync()
    settle(setting.device)
    with ThreadPoolExecutor(1) as reader:
        inference = reader.submit(live.inference_model.infer, x)
        inside.wait()
        waits = [timed_ms(live.sync, setting.device) for _ in range(SYNCS)]
        inference.result()
    return waits


def _readers_together(setting: Setting, make: MakeLive, model: nn.Module) -> float:
    begin = threading.Barrier(READERS + 1)

    def procedure(module: nn.Module, x: Tensor) -> Tensor:
        y = module(x)
        time.sleep(setting.plan.inference_s)
        return y

    live, x = make(model, procedure), _input(model)
    inference = live.inference_model

    def read() -> None:
        begin.wait()
        inference.infer(x)

    with ThreadPoolExecutor(READERS) as readers:
        reading = [readers.submit(read) for _ in range(READERS)]
        begin.wait()
        start = time.perf_counter()
        for one in reading:
            one.result()
        return (time.perf_counter() - start) * 1e3


def _input(model: nn.Module) -> Tensor:
    weight = next(model.parameters())
    return torch.ones(1, weight.shape[1], device=weight.device)
