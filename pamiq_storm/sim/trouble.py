"""Trouble on purpose: streams that stop or lag, calls that fail, schedules that shake."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from pamiq_storm.sim.native import enabled
from pamiq_storm.sim.settings import seconds


class FaultCounts:
    """How often each fault of an `inject` context fired so far."""

    def __init__(self, injection: Any) -> None:
        self._injection = injection

    @property
    def allocation(self) -> int:
        """Device allocations that failed."""
        return self._injection.fired().allocation

    @property
    def pinned(self) -> int:
        """Requests for pinned memory that failed."""
        return self._injection.fired().pinned

    @property
    def copy(self) -> int:
        """Copies over the link that failed."""
        return self._injection.fired().copy

    @property
    def task(self) -> int:
        """Kernels that failed."""
        return self._injection.fired().task

    @property
    def lose_device(self) -> int:
        """Devices lost."""
        return self._injection.fired().lose_device

    def __repr__(self) -> str:
        names = ("allocation", "pinned", "copy", "task", "lose_device")
        return f"FaultCounts({', '.join(f'{name}={getattr(self, name)}' for name in names)})"


@dataclass(frozen=True)
class Fuzz:
    """The schedule in force: entering ``sim.fuzz`` with the same arguments brings it back."""

    seed: int
    max_delay: str

    @property
    def delay_s(self) -> float:
        """The sum of the delays so far: with the same seed, the same work gets the same ones."""
        return enabled().Fuzz.given_ns() / 1e9

    def __repr__(self) -> str:
        return f"pamiq_storm.sim.fuzz(seed={self.seed}, max_delay={self.max_delay!r})"


@contextlib.contextmanager
def capture(stream: torch.Stream | None = None) -> Iterator[None]:
    """Let a stream (default: the current one) say that a graph of it is being captured.

    Nothing is captured, and what is issued runs as ever. For tests of code that must not act while a graph is captured.

    Raises:
        RuntimeError: the simulator is not enabled.
    """
    native = enabled()
    captured = torch.accelerator.current_stream() if stream is None else stream
    flag = native.Capture(captured.device_index, captured.stream_id)
    try:
        yield
    finally:
        flag.end()


@contextlib.contextmanager
def hold(stream: torch.Stream | None = None) -> Iterator[None]:
    """Keep a stream from going on inside the ``with`` block.

    What is issued on `stream` (default: the current one) meanwhile starts when the block ends. For
    tests that need a copy or a kernel to be late. Synchronising with it inside waits for ever.

    Raises:
        RuntimeError: the simulator is not enabled.
    """
    native = enabled()
    held = torch.accelerator.current_stream() if stream is None else stream
    brake = native.Hold(held.device_index, held.stream_id)
    try:
        yield
    finally:
        brake.release()


@contextlib.contextmanager
def stall(stream: torch.Stream, factor: float) -> Iterator[None]:
    """Make a stream slow: what is issued on it inside the block takes `factor` times as long.

    Raises:
        RuntimeError: the simulator is not enabled.
        ValueError: `factor` is below 1.
    """
    scope = enabled().Stall(stream.device_index, stream.stream_id, factor)
    try:
        yield
    finally:
        scope.end()


@contextlib.contextmanager
def inject(
    *,
    allocation: int | None = None,
    pinned: int | None = None,
    copy: int | None = None,
    task: int | None = None,
    lose_device: int | None = None,
) -> Iterator[FaultCounts]:
    """Make the n-th such call from now fail, once, unless the block ends before.

    Calls are counted when the host issues them, over all devices and streams. Errors of copies and
    kernels come like those of a GPU: the first is kept and raised at the next synchronisation.

    Args:
        allocation: a device allocation raises `torch.OutOfMemoryError`.
        pinned: a request for pinned host memory raises `torch.OutOfMemoryError`.
        copy: a copy over the link, either way, fails; its target is overwritten with 0xFF.
        task: a kernel fails and does not run.
        lose_device: the device is lost once it took this many kernels and copies. What had not
            started does not run; every call that touches the device, except freeing, raises
            RuntimeError. Leaving the block brings it back, with empty streams.

    Raises:
        RuntimeError: the simulator is not enabled.
        ValueError: a number is below 1.
    """
    native = enabled()
    wanted = {"allocation": allocation, "pinned": pinned, "copy": copy, "task": task, "lose_device": lose_device}
    chosen = {name: n for name, n in wanted.items() if n is not None}
    for name, n in chosen.items():
        if isinstance(n, bool) or n < 1:
            raise ValueError(f"{name} names the n-th call from now and counts from 1, got {n!r}")
    injection = native.Injection(native.Faults(**chosen))
    try:
        yield FaultCounts(injection)
    finally:
        injection.end()


@contextlib.contextmanager
def fuzz(seed: int, max_delay: str | float = "200us") -> Iterator[Fuzz]:
    """Shake the schedule: delay kernels and copies issued inside the block, and event queries too.

    Half of them start at once, most others soon, few as late as `max_delay`. A delay depends only on
    the seed, the device, which stream it is (in the order of their first use inside the block) and
    on how many tasks that stream got before: the same seed brings the same delays. An event query
    may say "not yet" for up to `max_delay`, unless the host knows better already.

    Args:
        seed: which schedule.
        max_delay: in seconds, or like ``"200us"``, ``"5ms"``.

    Raises:
        RuntimeError: the simulator is not enabled, or fuzzed already.
        ValueError: `max_delay` is not a duration.
    """
    scope = enabled().Fuzz(seed % 2**64, int(seconds("max_delay", max_delay) * 1e9))
    try:
        yield Fuzz(seed, max_delay if isinstance(max_delay, str) else f"{max_delay * 1e6:g}us")
    finally:
        scope.end()
