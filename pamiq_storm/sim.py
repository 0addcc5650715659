"""The simulated accelerator: a device named ``sim`` made of threads and host memory.

It behaves like a GPU where offloading is concerned: streams run asynchronously, events order them,
each direction of the link has a bandwidth, pinned memory matters, device memory is limited and
freed memory is overwritten. Kernels compute real numbers with torch's CPU kernels.

Each stream's thread computes with one intra-op thread, whatever ``torch.set_num_threads`` says:
that setting belongs to the host's threads. The figures it gives are simulated ones.

Loading it makes ``sim`` torch's accelerator for the whole process, so it happens in `enable` only,
never by importing `pamiq_storm`. It reads no environment variable.
"""

import atexit
import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from pamiq_storm._sim_module import device_module
from pamiq_storm._sim_settings import Size, fill, parse, seconds

__all__ = [
    "FaultCounts",
    "Fuzz",
    "SimStats",
    "capture",
    "configure",
    "enable",
    "fuzz",
    "hold",
    "inject",
    "is_enabled",
    "reset_stats",
    "stall",
    "stats",
]


@dataclass(frozen=True)
class SimStats:
    """What the simulated machine did since `enable` or `reset_stats`, over all devices.

    Bytes are those that crossed the link; seconds are wall-clock time in which a copy engine or a
    stream was busy (the streams' added up).
    """

    async_kernels: int
    sync_kernels: int
    d2h_copies: int
    h2d_copies: int
    d2h_bytes: int
    h2d_bytes: int
    d2h_busy_s: float
    h2d_busy_s: float
    compute_busy_s: float
    pinned_bytes: int
    peak_pinned_bytes: int


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
        return _enabled().Fuzz.given_ns() / 1e9

    def __repr__(self) -> str:
        return f"pamiq_storm.sim.fuzz(seed={self.seed}, max_delay={self.max_delay!r})"


_native: Any = None  # pamiq_storm._sim once enabled


def enable(
    memory: Size = "512MiB",
    d2h: Size = "2GB/s",
    h2d: Size = "2GB/s",
    pageable: Size = None,
    devices: int = 1,
    poison: bool = True,
    synchronous: bool = False,
) -> None:
    """Make ``sim`` a device of this process and torch's accelerator.

    Calling it again changes the settings and keeps all allocations.

    Args:
        memory: limit per device, in bytes or like ``"512MiB"``; None means unlimited.
        d2h: bandwidth from device to host in bytes per second, or like ``"2GB/s"``; None means as
            fast as memory is copied.
        h2d: the same from host to device.
        pageable: bandwidth of copies from and to memory that is not pinned; None means the link's.
        devices: number of devices, fixed by the first call.
        poison: overwrite freed device memory with 0xFF, when its stream gets there.
        synchronous: wait for each kernel, to see which one fails.

    Raises:
        ValueError: a setting makes no sense, or `devices` differs from the first call's.
        RuntimeError: another PrivateUse1 backend is already registered.
    """
    global _native
    config = parse(memory, d2h, h2d, pageable, devices, poison, synchronous)
    from pamiq_storm import _C, _sim

    first = not _sim.enabled()
    _sim.enable(fill(_sim.Config(), config))
    if not first:
        return
    _native = _sim
    _sim.set_memory_pressure_callback(_C.memory_pressure_callback())
    # torch's Python side has the name to learn too: it patches repr and the profiler.
    torch.utils.rename_privateuse1_backend("sim")  # pyright: ignore[reportPrivateImportUsage]
    torch._register_device_module("sim", device_module(_sim))
    torch.utils.generate_methods_for_privateuse1_backend(  # pyright: ignore[reportPrivateImportUsage]
        for_tensor=True, for_module=True, for_packed_sequence=True, for_storage=True
    )
    atexit.register(_sim.shutdown)
    os.register_at_fork(after_in_child=_sim.renew_autograd_engine)


def configure(**settings: Any) -> None:
    """Change some of `enable`'s settings, by name; the others stay.

    Raises:
        RuntimeError: the simulator is not enabled.
        ValueError: a setting is unknown or makes no sense.
    """
    native = _enabled()
    names = ("memory", "d2h", "h2d", "pageable", "devices", "poison", "synchronous")
    unknown = sorted(set(settings) - set(names))
    if unknown:
        raise ValueError(f"unknown settings of the simulator: {', '.join(unknown)}")
    present = native.current_config()
    merged = {
        "memory": present.memory_bytes or None,
        "d2h": present.d2h_bytes_per_s or None,
        "h2d": present.h2d_bytes_per_s or None,
        "pageable": present.pageable_bytes_per_s or None,
        "devices": present.devices,
        "poison": present.poison,
        "synchronous": present.synchronous,
    } | settings
    native.configure(fill(native.Config(), parse(**merged)))


def is_enabled() -> bool:
    """Return whether ``sim`` is a device of this process."""
    return _native is not None


def stats() -> SimStats:
    """Return what the simulated machine did so far.

    Raises:
        RuntimeError: the simulator is not enabled.
    """
    return SimStats(**_enabled().stats())


def reset_stats() -> None:
    """Set the counters to zero; the peak of pinned bytes falls to its present value.

    Raises:
        RuntimeError: the simulator is not enabled.
    """
    _enabled().reset_stats()


@contextlib.contextmanager
def capture(stream: torch.Stream | None = None) -> Iterator[None]:
    """Let a stream (default: the current one) say that a graph of it is being captured.

    Nothing is captured, and what is issued runs as ever. For tests of code that must not act while a graph is captured.

    Raises:
        RuntimeError: the simulator is not enabled.
    """
    native = _enabled()
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
    native = _enabled()
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
    scope = _enabled().Stall(stream.device_index, stream.stream_id, factor)
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
    native = _enabled()
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
    scope = _enabled().Fuzz(seed % 2**64, int(seconds("max_delay", max_delay) * 1e9))
    try:
        yield Fuzz(seed, max_delay if isinstance(max_delay, str) else f"{max_delay * 1e6:g}us")
    finally:
        scope.end()


def _enabled() -> Any:
    if _native is None:
        raise RuntimeError("the simulator is not enabled: call pamiq_storm.sim.enable() first")
    return _native
