"""What the simulator's settings may look like, and what they mean."""

import math
import re
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pamiq_storm.profile import NUMBERS, Profile, load_profile
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


class _Unset:
    def __repr__(self) -> str:
        return "left out"


UNSET: Any = _Unset()
_CONTENTS = ("real", "ghost")
_CLOCKS = ("threads", "virtual")
_DEFAULT_LIMIT = 512 << 20


@dataclass(frozen=True)
class Settings:
    """The settings of `sim.enable`, as given; making one checks them.

    Raises:
        ValueError: a setting makes no sense.
    """

    memory: Size = "512MiB"
    d2h: Any = "2GB/s"
    h2d: Any = "2GB/s"
    pageable: Any = None
    devices: int = 1
    poison: bool = True
    synchronous: bool = False
    clock: str = "threads"
    limit: Size = UNSET
    profile: str | Path | Profile = "rtx4090"
    races: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.devices, bool) or not isinstance(self.devices, int):
            raise ValueError(f"devices is a number of devices, not {self.devices!r}")
        if self.clock not in _CLOCKS:
            raise ValueError(f"clock is one of {', '.join(map(repr, _CLOCKS))}, not {self.clock!r}")
        if self.memory == "ghost" and self.clock != "virtual":
            raise ValueError("memory='ghost' needs clock='virtual': nothing is computed that could take time")
        if self.limit is not UNSET and self.memory not in _CONTENTS:
            raise ValueError(f"memory={self.memory!r} is a limit already; give limit= with memory='real' or 'ghost'")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of all settings."""
        return tuple(field.name for field in fields(cls))

    def changed(self, **settings: Any) -> "Settings":
        """The same with some of them changed; a limit given alone is of the memory there is."""
        if "limit" in settings and "memory" not in settings and self.memory not in _CONTENTS:
            settings = settings | {"memory": "real"}
        if "memory" in settings and settings["memory"] not in _CONTENTS:
            settings = {"limit": UNSET} | settings
        return replace(self, **settings)

    @cached_property
    def machine(self) -> Profile:
        """The profile, read if it was named."""
        return self.profile if isinstance(self.profile, Profile) else load_profile(self.profile)

    @property
    def limit_bytes(self) -> int:
        """Of device memory; 0 is unlimited."""
        if self.memory not in _CONTENTS:
            return _size("memory", self.memory)
        if self.limit is not UNSET:
            return _size("limit", self.limit)
        return self.machine.memory_bytes if self.clock == "virtual" else _DEFAULT_LIMIT

    def fill(self, native_config: Any) -> Any:
        """Copy the settings into a native configuration."""
        native_config.memory_bytes = self.limit_bytes
        native_config.d2h_bytes_per_s = _rate("d2h", self.d2h)
        native_config.h2d_bytes_per_s = _rate("h2d", self.h2d)
        native_config.pageable_bytes_per_s = _rate("pageable", self.pageable)
        native_config.devices = self.devices
        native_config.poison = bool(self.poison)
        native_config.synchronous = bool(self.synchronous)
        native_config.virtual_clock = self.clock == "virtual"
        native_config.ghost = self.memory == "ghost"
        native_config.races = bool(self.races)
        return native_config

    def fill_profile(self, native_profile: Any) -> Any:
        """Copy the machine's numbers into a native profile."""
        for name in NUMBERS:
            if name != "hook_s":  # Python's own time: whoever runs the hooks charges it
                setattr(native_profile, name, float(getattr(self.machine, name)))
        return native_profile
