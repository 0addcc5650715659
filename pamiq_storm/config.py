"""What the engine may use: sizes in bytes, as numbers or as text such as ``"64MiB"``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import torch

from . import _C
from .units import format_bytes, parse_bytes

__all__ = ["OffloadConfig"]

_DEVICE_SHARE = 32  # a size left to choose is this fraction of the device's memory
_HOST_SHARE = 0.8  # and of the host memory that is free now
_MAX_SIZE = 2**64 - 1

Size = int | str | None


@dataclass(frozen=True)
class OffloadConfig:
    """Bounds of one engine. ``None`` lets the engine choose.

    Args:
        min_bytes: Saved tensors that touch fewer bytes stay on the device.
        window_bytes: Device bytes whose copy to the host may be under way; when more are, compute waits for the
            oldest. Default: 1/32 of the device's memory.
        prefetch_bytes: Device bytes brought back before backward asks for them. Default: as ``window_bytes``.
        keep_last_bytes: What forward saves last is needed first: that many bytes stay, from the second step on.
            Default: as ``window_bytes``.
        host_bytes: Hard cap on host memory. Tensors that do not fit stay on the device, and are counted.
            Default: 80 % of the host memory that is free when the engine is made.
        slab_bytes: Host memory is taken as it is needed, in slabs of at most this size, a power of two.
        pack_bool: Masks (saved ``torch.bool`` tensors) travel as bits: an eighth of the bytes over the link and on the
            host, for a kernel on either side. Bit for bit, or an error in backward if a byte was neither 0 nor 1. Has
            not been timed on a GPU yet, hence off.
        measure_stalls: Time how long compute waits for copies (two device events for each wait).
    """

    min_bytes: int | str = "64KiB"
    window_bytes: Size = None
    prefetch_bytes: Size = None
    keep_last_bytes: Size = None
    host_bytes: Size = None
    slab_bytes: int | str = "64MiB"
    pack_bool: bool = False
    measure_stalls: bool = True

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("pack_bool", "measure_stalls"):
                if not isinstance(value, bool):
                    raise TypeError(f"{field.name} must be a bool, got {value!r}")
            elif value is not None:
                _size(field.name, value)

    def resolve(self, device: torch.device) -> _C.OffloadConfig:
        """The engine's numbers for ``device``.

        Raises:
            ValueError: The sizes contradict each other or exceed the device's memory.
        """
        total = _device_memory(device)
        share = max(total // _DEVICE_SHARE, 1 << 20)
        resolved = _C.OffloadConfig()
        resolved.min_bytes = _size("min_bytes", self.min_bytes)
        resolved.window_bytes = _size("window_bytes", self.window_bytes, share)
        resolved.prefetch_bytes = _size("prefetch_bytes", self.prefetch_bytes, resolved.window_bytes)
        resolved.keep_last_bytes = _size("keep_last_bytes", self.keep_last_bytes, resolved.window_bytes)
        resolved.host_bytes = _size("host_bytes", self.host_bytes, _free_host_bytes())
        resolved.slab_bytes = _size("slab_bytes", self.slab_bytes)
        resolved.pack_bool = self.pack_bool
        resolved.measure_stalls = self.measure_stalls
        return resolved


def _size(name: str, value: Size, default: int = 0) -> int:
    if value is None:
        return default
    try:
        size = parse_bytes(value)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    if not 0 <= size <= _MAX_SIZE:
        raise ValueError(f"{name} must lie between 0 and {format_bytes(_MAX_SIZE)}, got {value!r}")
    return size


def _device_memory(device: torch.device) -> int:
    try:
        return torch.accelerator.get_memory_info(device)[1]
    except (RuntimeError, NotImplementedError):  # a backend that does not tell
        return 0


def _free_host_bytes() -> int:
    try:
        with Path("/proc/meminfo").open() as meminfo:
            for line in meminfo:
                if line.startswith("MemAvailable:"):
                    return int(int(line.split()[1]) * 1024 * _HOST_SHARE)
    except OSError:
        pass
    return _MAX_SIZE
