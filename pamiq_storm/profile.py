"""Hardware profiles: what a device's operations cost, each number with the source it was taken from.

The simulator's virtual clock charges time by one of them. They are TOML files, shipped in `pamiq_storm/profiles` or
written by `python -m pamiq_storm calibrate`: a name, a description, and a table for every number::

    [numbers.d2h_bytes_per_s]
    value = 26.8e9
    source = "where a reader can look it up, or measured on what, or assumed: why"
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pamiq_storm.atomic import write_atomically

__all__ = ["NUMBERS", "Profile", "ProfileError", "load_profile", "profiles"]

_FOLDER = Path(__file__).with_name("profiles")
_WHOLE = ("memory_bytes", "host_memory_bytes")
_MAY_BE_ZERO = ("host_memory_bytes",)


class ProfileError(ValueError):
    """A profile that does not exist or makes no sense; the message names it and the number concerned."""


@dataclass(frozen=True)
class Profile:
    """What one device costs: SI units, rates as reached where a comment does not say peak.

    An efficiency is the share of the peak that a large operation of that kind reaches. It may exceed 1: some devices
    run above the clock their vendor computes the peak with.
    """

    name: str
    description: str

    memory_bytes: int
    half_flops: float  # peak, dense: float16 and bfloat16 with float32 accumulation
    tf32_flops: float
    single_flops: float
    double_flops: float
    matmul_efficiency: float
    convolution_efficiency: float
    attention_efficiency: float
    attention_backward_efficiency: float
    memory_bytes_per_s: float  # peak
    memory_efficiency: float
    kernel_floor_s: float  # the shortest kernel

    d2h_bytes_per_s: float
    h2d_bytes_per_s: float
    pageable_bytes_per_s: float
    copy_latency_s: float

    launch_s: float  # host time of a kernel launch or an asynchronous copy, torch's dispatch included
    api_s: float  # host time of an event record, wait or query
    pin_s: float  # cudaHostAlloc: each call, and then by size
    pin_bytes_per_s: float
    unpin_s: float
    device_malloc_s: float
    device_free_s: float
    hook_s: float  # host time of one Python pack or unpack hook besides its device calls
    host_memory_bytes: int  # limit of pinned memory, 0 = none

    sources: Mapping[str, str] = field(hash=False)

    def __post_init__(self) -> None:
        for number in NUMBERS:
            _check(self.name, number, getattr(self, number))
        _check_names(self.name, "source", self.sources)
        for number, source in self.sources.items():
            if not isinstance(source, str) or not source.strip():
                raise ProfileError(f"profile {self.name!r}: {number} has no source")
        object.__setattr__(self, "sources", MappingProxyType(dict(self.sources)))

    def replace(self, **numbers: float) -> Profile:
        """This profile with some numbers changed; their source then says that the caller set them.

        Raises:
            ProfileError: a number is unknown or makes no sense.
        """
        if unknown := sorted(set(numbers) - set(NUMBERS)):
            raise ProfileError(f"profile {self.name!r} has no number {', '.join(unknown)}; known: {', '.join(NUMBERS)}")
        sources = {name: f"set by the caller, in place of {getattr(self, name):g}" for name in numbers}
        changes: dict[str, Any] = {**numbers, "sources": {**self.sources, **sources}}
        return dataclasses.replace(self, **changes)

    def scaled(self, link: float = 1.0, matmul: float = 1.0) -> Profile:
        """This profile with all rates of the link, and those of matrix products, times a factor.

        Convolutions are matrix products here, attention is not.

        Raises:
            ProfileError: a factor is not positive.
        """
        rates = ("d2h_bytes_per_s", "h2d_bytes_per_s", "pageable_bytes_per_s")
        products = ("matmul_efficiency", "convolution_efficiency")
        factors = dict.fromkeys(rates, link) | dict.fromkeys(products, matmul)
        return self.replace(**{name: getattr(self, name) * by for name, by in factors.items() if by != 1.0})

    def write(self, path: Path) -> None:
        """Writes a file that `load_profile` reads back as an equal profile."""
        lines = [f"name = {json.dumps(self.name)}", f"description = {json.dumps(self.description)}"]
        for number in NUMBERS:
            lines += ["", f"[numbers.{number}]", f"value = {getattr(self, number)!r}"]
            lines += [f"source = {json.dumps(self.sources[number])}"]
        write_atomically(path, ("\n".join(lines) + "\n").encode())


NUMBERS: tuple[str, ...] = tuple(
    f.name for f in dataclasses.fields(Profile) if f.name not in ("name", "description", "sources")
)
"""The names of all numbers of a profile."""


def profiles() -> list[str]:
    """The names of the shipped profiles."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_profile(name_or_path: str | Path) -> Profile:
    """Reads a shipped profile by name, or any profile by its file, whose name ends in ``.toml``.

    Raises:
        ProfileError: there is none of that name, or the file breaks the format.
        OSError: the file cannot be read.
    """
    if str(name_or_path).endswith(".toml"):
        path = Path(name_or_path)
    elif str(name_or_path) in profiles():
        path = _FOLDER / f"{name_or_path}.toml"
    else:
        raise ProfileError(
            f"no profile {str(name_or_path)!r}; there are {', '.join(profiles())}, or give the path of a .toml file"
        )
    try:
        return _parsed(tomllib.loads(path.read_text()))
    except (ProfileError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path}: {error}") from None


def _parsed(document: dict[str, Any]) -> Profile:
    for key in ("name", "description"):
        if not isinstance(document.get(key), str):
            raise ProfileError(f"{key} is missing or not a text")
    if unknown := sorted(set(document) - {"name", "description", "numbers"}):
        raise ProfileError(f"unknown {', '.join(unknown)} beside name, description and numbers")
    tables = document.get("numbers")
    if not isinstance(tables, dict):
        raise ProfileError("the tables [numbers.*] are missing")
    _check_names(document["name"], "number", tables)
    for number, table in tables.items():
        if not isinstance(table, dict) or set(table) != {"value", "source"}:
            raise ProfileError(f"profile {document['name']!r}: {number} needs a value and a source, nothing else")
    values: dict[str, Any] = {number: table["value"] for number, table in tables.items()}
    sources = {number: table["source"] for number, table in tables.items()}
    return Profile(name=document["name"], description=document["description"], **values, sources=sources)


def _check_names(profile: str, what: str, names: Mapping[str, Any]) -> None:
    if missing := [number for number in NUMBERS if number not in names]:
        raise ProfileError(f"profile {profile!r} lacks the {what} of {', '.join(missing)}")
    if unknown := sorted(set(names) - set(NUMBERS)):
        raise ProfileError(f"profile {profile!r} has an unknown {what}: {', '.join(unknown)}")


def _check(profile: str, name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ProfileError(f"profile {profile!r}: {name} is {value!r}, not a number")
    if value < 0 or (value == 0 and name not in _MAY_BE_ZERO):
        raise ProfileError(f"profile {profile!r}: {name} is {value!r}, but must be positive")
    if name in _WHOLE and not isinstance(value, int):
        raise ProfileError(f"profile {profile!r}: {name} is {value!r}, not a whole number of bytes")
