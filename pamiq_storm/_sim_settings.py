"""What the simulator's settings may look like, and what they mean."""

import math
import re
from typing import Any

from pamiq_storm.units import parse_bytes

Size = int | str | None


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


def seconds(name: str, value: str | float) -> float:
    """A duration in seconds, from a number of them or a text like ``"200us"``."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(us|ms|s)\s*", value)
        if match is None:
            raise ValueError(f"{name} is not a duration: {value!r}; write it like '200us'")
        return float(match[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[match[2]]
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} is not a duration: {value}")
    return value


def parse(
    memory: Size, d2h: Any, h2d: Any, pageable: Any, devices: int, poison: bool, synchronous: bool
) -> dict[str, Any]:
    """The settings of `sim.enable` as its native configuration names them."""
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


def fill(native_config: Any, values: dict[str, Any]) -> Any:
    """Copy parsed settings into a native configuration."""
    for name, value in values.items():
        setattr(native_config, name, value)
    return native_config
