"""Byte sizes as people write them."""

from __future__ import annotations

import re

__all__ = ["format_bytes", "parse_bytes"]

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _UNITS[_letter + "b"] = 1000**_power
    _UNITS[_letter + "ib"] = 1024**_power


def parse_bytes(size: int | str) -> int:
    """``4096``, ``"512MiB"`` or ``"1.5 GB"`` in bytes."""
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise TypeError(f"a size is a number of bytes or text such as '512MiB', got {size!r}")
    if isinstance(size, int):
        return size
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-z]*)\s*", size, re.IGNORECASE)
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError(f"{size!r} is not a size: write a number of bytes or text such as '512MiB'")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def format_bytes(size: int) -> str:
    """``1572864`` as ``"1.50 MiB"``."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{size} bytes" if unit == "bytes" else f"{value:.2f} {unit}"
        value /= 1024
    return f"{value:.2f} TiB"
