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
import math
import os
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from pamiq_storm.units import parse_bytes

__all__ = ["SimStats", "configure", "enable", "hold", "is_enabled", "reset_stats", "stats"]

Size = int | str | None
_DEVICE_TYPE = 20  # c10::DeviceType::PrivateUse1, which torch.Stream takes as a number


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
    config = _parse(memory, d2h, h2d, pageable, devices, poison, synchronous)
    from pamiq_storm import _sim

    first = not _sim.enabled()
    _sim.enable(_fill(_sim.Config(), config))
    if not first:
        return
    _native = _sim
    # torch's Python side has the name to learn too: it patches repr and the profiler.
    torch.utils.rename_privateuse1_backend("sim")  # pyright: ignore[reportPrivateImportUsage]
    torch._register_device_module("sim", _device_module())
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
    native.configure(_fill(native.Config(), _parse(**merged)))


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


def _enabled() -> Any:
    if _native is None:
        raise RuntimeError("the simulator is not enabled: call pamiq_storm.sim.enable() first")
    return _native


def _size(name: str, value: Size) -> int:
    if value is None:
        return 0
    try:
        size = parse_bytes(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None
    if size == 0:
        raise ValueError(f"{name} cannot be zero; use None for unlimited")
    return size


def _rate(name: str, value: Any) -> float:
    if isinstance(value, float):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is not a bandwidth: {value}")
        return value
    if isinstance(value, str):
        amount, slash, per = value.partition("/")
        if slash and per.strip() != "s":
            raise ValueError(f"{name} is not a bandwidth: {value!r}; write it like '2GB/s'")
        value = amount
    return float(_size(name, value))


def _parse(
    memory: Size, d2h: Any, h2d: Any, pageable: Any, devices: int, poison: bool, synchronous: bool
) -> dict[str, Any]:
    if isinstance(devices, bool) or not isinstance(devices, int):
        raise ValueError(f"devices is a number of devices, not {devices!r}")
    return {
        "memory_bytes": _size("memory", memory),
        "d2h_bytes_per_s": _rate("d2h", d2h),
        "h2d_bytes_per_s": _rate("h2d", h2d),
        "pageable_bytes_per_s": _rate("pageable", pageable),
        "devices": devices,
        "poison": bool(poison),
        "synchronous": bool(synchronous),
    }


def _fill(native_config: Any, values: dict[str, Any]) -> Any:
    for name, value in values.items():
        setattr(native_config, name, value)
    return native_config


def _index(device: Any) -> int:
    if device is None:
        return torch.accelerator.current_device_index()
    if isinstance(device, int):
        return device
    index = torch.device(device).index
    return torch.accelerator.current_device_index() if index is None else index


def _get_rng_state(device: Any = "sim") -> torch.Tensor:
    seed, offset = _native.rng_state(_index(device))
    return torch.tensor([seed, offset], dtype=torch.uint64).view(torch.uint8)


def _set_rng_state(state: torch.Tensor, device: Any = "sim") -> None:
    if state.dtype != torch.uint8 or state.numel() != 16:
        raise ValueError("a generator state of the simulated device is a uint8 tensor of 16 bytes")
    seed, offset = state.cpu().clone().view(torch.uint64).tolist()
    _native.set_rng_state(_index(device), seed, offset)


def _manual_seed(seed: int, device: Any = None) -> None:
    _native.set_rng_state(_index(device), seed % 2**64, 0)


def _manual_seed_all(seed: int) -> None:
    for index in range(torch.accelerator.device_count()):
        _manual_seed(seed, index)


@contextlib.contextmanager
def _device_scope(device: Any) -> Iterator[None]:
    previous = torch.accelerator.current_device_index()
    torch.accelerator.set_device_index(_index(device))
    try:
        yield
    finally:
        torch.accelerator.set_device_index(previous)


def _device_module() -> types.ModuleType:
    """Build ``torch.sim``, with the names that torch and its users expect of a device module."""
    module = types.ModuleType("torch.sim", "The simulated accelerator of pamiq_storm.")
    accelerator = torch.accelerator
    members = {
        "_initialized": True,
        "_is_in_bad_fork": lambda: _native.forked(),
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: _native.current_config().devices,
        "current_device": accelerator.current_device_index,
        "set_device": lambda device: accelerator.set_device_index(_index(device)),
        "device": _device_scope,
        "synchronize": accelerator.synchronize,
        "current_stream": accelerator.current_stream,
        "set_stream": accelerator.set_stream,
        "default_stream": lambda device=None: torch.Stream(
            stream_id=0, device_index=_index(device), device_type=_DEVICE_TYPE
        ),
        "stream": lambda stream: contextlib.nullcontext() if stream is None else stream,
        "Stream": lambda device="sim", priority=0: torch.Stream(device=device, priority=priority),
        "Event": lambda enable_timing=False, **_: torch.Event("sim", enable_timing=enable_timing),
        "manual_seed": _manual_seed,
        "manual_seed_all": _manual_seed_all,
        "get_rng_state": _get_rng_state,
        "set_rng_state": _set_rng_state,
        "get_amp_supported_dtype": lambda: [torch.bfloat16, torch.float16],
    }
    for name in (
        "empty_cache",
        "memory_allocated",
        "max_memory_allocated",
        "memory_reserved",
        "max_memory_reserved",
        "memory_stats",
        "reset_peak_memory_stats",
        "reset_accumulated_memory_stats",
    ):
        members[name] = getattr(accelerator, name)
    members["mem_get_info"] = accelerator.get_memory_info
    for name, member in members.items():
        setattr(module, name, member)
    return module
