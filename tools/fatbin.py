"""Which GPU architectures a binary holds kernels for, read from the file itself: needs no CUDA tool and no GPU."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

# A fat binary begins with this, a version, its header's size and the size of its entries.
_MAGIC = struct.pack("<I", 0xBA55ED50)
_FAT = struct.Struct("<IHHQ")
# Each entry: kind, version, size of its header, size of its payload, ..., architecture.
_ENTRY = struct.Struct("<HHIQIIII")
_KINDS = {1: "compute", 2: "sm"}  # PTX, which a driver compiles for newer devices; machine code


def architectures(binary: bytes) -> set[str]:
    """Such as ``{"sm_80", "sm_90", "compute_90"}``; empty where there is no kernel."""
    found: set[str] = set()
    at = binary.find(_MAGIC)
    while at >= 0:
        if at + _FAT.size <= len(binary):
            _, _, header, size = _FAT.unpack_from(binary, at)
            found |= _entries(binary, at + header, at + header + size)
        at = binary.find(_MAGIC, at + 1)
    return found


def _entries(binary: bytes, at: int, end: int) -> set[str]:
    found: set[str] = set()
    while at + _ENTRY.size <= min(end, len(binary)):
        kind, _, header, payload, _, _, _, architecture = _ENTRY.unpack_from(binary, at)
        if kind not in _KINDS or header < _ENTRY.size:
            break
        found.add(f"{_KINDS[kind]}_{architecture}")
        at += header + payload
    return found


def wanted(arch_list: str) -> set[str]:
    """What a ``TORCH_CUDA_ARCH_LIST`` such as ``"8.0;12.0+PTX"`` asks for."""
    names: set[str] = set()
    for entry in arch_list.replace(" ", ";").split(";"):
        number = entry.removesuffix("+PTX").replace(".", "")
        if number:
            names |= {f"sm_{number}"} | ({f"compute_{number}"} if entry.endswith("+PTX") else set())
    return names


def main(paths: list[str], arch_list: str) -> str | None:
    held: set[str] = set()
    for path in paths:
        held |= architectures(Path(path).read_bytes())
    print(f"kernels for {', '.join(sorted(held, key=lambda name: (name.split('_')[0], int(name.split('_')[1]))))}")
    missing = wanted(arch_list) - held
    return f"no kernels for {', '.join(sorted(missing))} in {', '.join(paths)}" if missing else None


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: fatbin.py ARCH_LIST FILE...")
    sys.exit(main(sys.argv[2:], sys.argv[1]))
