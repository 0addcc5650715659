"""Interleaving, timing, and rows."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from pamiq_storm.bench.measure import percentile
from pamiq_storm.bench.publish.networks import count
from pamiq_storm.results import PublishRow

T = TypeVar("T")


def rotated(items: Sequence[T], number: int) -> list[T]:
    """Another begins in each round, so that nobody always comes after the same neighbour."""
    shift = number % len(items)
    return [*items[shift:], *items[:shift]]


def timed_ms(work: Callable[[], object], device: torch.device) -> float:
    """Host time from an idle device to an idle device."""
    settle(device)
    start = time.perf_counter()
    work()
    settle(device)
    return (time.perf_counter() - start) * 1e3


def settle(device: torch.device) -> None:
    """Waits for the device; the CPU has nothing to wait for."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


@contextmanager
def no_collection() -> Iterator[None]:
    """Python's collector would land in somebody's round."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def row(
    impl: str, case: str, model: nn.Module, times_ms: Sequence[float] = (), copies: float | None = None
) -> PublishRow:
    """A row; without times its columns have no meaning."""
    parameters, tensors = count(model)
    middle, late, longest = (
        (percentile(times_ms, 50), percentile(times_ms, 99), max(times_ms)) if times_ms else (None, None, None)
    )
    return PublishRow(impl, case, parameters, tensors, middle, late, longest, copies)
