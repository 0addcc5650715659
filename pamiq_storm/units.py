"""Sizes as people write them."""

import re

_FACTORS = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000 ** (i + 1) for i, prefix in enumerate("kmgt")},
    **{f"{prefix}ib": 1024 ** (i + 1) for i, prefix in enumerate("kmgt")},
}
_PATTERN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([a-zA-Z]*)\s*")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")


def parse_bytes(size: int | str) -> int:
    """Return `size` in bytes.

    Takes a number of bytes, or a string with a unit: decimal (``"1.5GB"``) or binary
    (``"512MiB"``), case ignored. Fractions of a byte are dropped.

    Raises:
        ValueError: the string is not a size, or the size is negative.
        TypeError: `size` is neither an integer nor a string.
    """
    if isinstance(size, bool) or not isinstance(size, int | str):
        raise TypeError(f"a size is an int or a string like '512MiB', not {size!r}")
    if isinstance(size, int):
        if size < 0:
            raise ValueError(f"a size cannot be negative: {size}")
        return size
    match = _PATTERN.fullmatch(size)
    factor = _FACTORS.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise ValueError(f"not a size: {size!r}; write bytes or a unit, like '512MiB' or '1.5GB'")
    return int(float(match[1]) * factor) if "." in match[1] else int(match[1]) * factor


def format_bytes(size: int) -> str:
    """Return `size` bytes as text with a binary unit, like ``"1.50 GiB"``; whole below 1 KiB."""
    if abs(size) < 1024:
        return f"{size} B"
    value = float(size)
    unit = 0
    while abs(value) >= 1024 and unit < len(_BINARY) - 1:
        value /= 1024
        unit += 1
    return f"{value:.2f} {_BINARY[unit]}"
