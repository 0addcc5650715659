"""Inference at a fixed rate: alone, beside training, and beside training that publishes."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from pamiq_storm.bench.measure import percentile
from pamiq_storm.bench.publish.arms import LiveModel, call
from pamiq_storm.bench.publish.networks import Tower
from pamiq_storm.bench.publish.rounds import no_collection, rotated, row
from pamiq_storm.bench.publish.setting import Advance, Part, Setting
from pamiq_storm.results import PublishRow

HZ = 100
SYNC_EVERY = 10
"""Inferences between two syncs."""
FIRST = 5
"""Inferences of a window that do not count: training has just begun."""
BATCH = 4
LEARNING_RATE = 1e-4

ALONE, TRAINING, SYNCING = "alone", "beside training", "beside training and sync"
KINDS = (ALONE, TRAINING, SYNCING)
ARMS = ("storm_swap", "pamiq_core")


class Trainer:
    """Trains without pause in a thread of its own, and publishes between two steps when asked."""

    def __init__(self, live: LiveModel, batch: Tensor) -> None:
        self.sync_ms: list[float] = []
        self.steps = 0
        self._live = live
        self._batch = batch
        self._stop = threading.Event()
        self._asked = threading.Event()

    def ask_for_sync(self) -> None:
        self._asked.set()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Trains while the block runs. An error of training is raised at its end."""
        with ThreadPoolExecutor(1) as threads:
            training = threads.submit(self._run)
            try:
                yield
            finally:
                self._stop.set()
            training.result()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._step()
            if self._asked.is_set():
                self._asked.clear()
                start = time.perf_counter()
                self._live.sync()
                self.sync_ms.append((time.perf_counter() - start) * 1e3)

    def _step(self) -> None:
        self._live(self._batch).square().mean().backward()
        # Asked for anew: with pamiq-core the module, and so its parameters, change places at each sync.
        with torch.no_grad():
            for parameter in self._live.model.parameters():
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=LEARNING_RATE)
                    parameter.grad = None
        self.steps += 1


def steps(setting: Setting) -> int:
    """Calls of `advance`."""
    return sum(name in setting.arms for name in ARMS) * len(KINDS) * setting.plan.pairs


def measure(setting: Setting, advance: Advance) -> Part:
    """Windows of all arms, interleaved; one thread for each side's arithmetic, as there may be two cores."""
    arms = [name for name in ARMS if name in setting.arms]
    with torch.device("meta"):
        shape = Tower(setting.plan.live)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        windows = _all_windows(setting, arms, advance)
    finally:
        torch.set_num_threads(threads)
    rows: list[PublishRow] = []
    facts: dict[str, Any] = {}
    for name in arms:
        for kind in KINDS:
            pooled = [t for window, _ in windows[name, kind] for t in window]
            rows.append(row(name, setting.case(f"inference at {HZ} Hz, {kind}"), shape, pooled))
        syncs = [t for _, trained in windows[name, SYNCING] if trained for t in trained.sync_ms]
        rows.append(row(name, setting.case(f"sync beside inference at {HZ} Hz"), shape, syncs))
        pairs = p99_ratios([w for w, _ in windows[name, TRAINING]], [w for w, _ in windows[name, SYNCING]])
        facts[name] = {
            "samples": len(windows[name, SYNCING]) * len(windows[name, SYNCING][0][0]),
            "syncs": len(syncs),
            "p99_with_sync_by_p99_beside_training": pairs,
            "median": statistics.median(pairs),
        }
    return Part(rows, {"inference_at_100_hz": facts})


def p99_ratios(training: Sequence[Sequence[float]], syncing: Sequence[Sequence[float]]) -> list[float]:
    """Each pair of windows that lay side by side: what publishing adds to the slowest inferences."""
    return [percentile(s, 99) / percentile(t, 99) for t, s in zip(training, syncing, strict=True)]


Window = tuple[list[float], Trainer | None]


def _all_windows(setting: Setting, arms: Sequence[str], advance: Advance) -> dict[tuple[str, str], list[Window]]:
    lives: dict[str, LiveModel] = {}
    for name in arms:
        torch.manual_seed(0)
        lives[name] = setting.arms[name](Tower(setting.plan.live).to(setting.device), call)
        lives[name].sync()
    windows: dict[tuple[str, str], list[Window]] = {(name, kind): [] for name in arms for kind in KINDS}
    for number in range(setting.plan.pairs):
        kinds = KINDS if number % 2 == 0 else KINDS[::-1]  # either of a pair comes first in turn
        for name in rotated(arms, number):
            for kind in kinds:
                with no_collection():
                    windows[name, kind].append(_window(setting, lives[name], kind))
                advance()
    return windows


def _window(setting: Setting, live: LiveModel, kind: str) -> Window:
    width = next(live.model.parameters()).shape[1]
    trainer = None if kind == ALONE else Trainer(live, torch.randn(BATCH, width, device=setting.device))
    x = torch.randn(1, width, device=setting.device)
    times: list[float] = []
    with trainer.running() if trainer else nullcontext():
        begin = time.perf_counter()
        for number in range(setting.plan.samples + FIRST):
            time.sleep(max(0.0, begin + number / HZ - time.perf_counter()))
            if trainer and kind == SYNCING and number % SYNC_EVERY == 0:
                trainer.ask_for_sync()
            start = time.perf_counter()
            live.inference_model.infer(x).cpu()
            times.append((time.perf_counter() - start) * 1e3)
    return times[FIRST:], trainer
