"""`python -m tools.gpu.kernels PROFILE OUT [--quick]`: our own kernels' times against what their bytes allow.

Each kernel states the device memory that it reads and writes; over the bandwidth that `calibrate` measured, that is the
time to expect of it. Small sizes are shown too: there a launch takes longer than the bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pamiq_storm.calibrate.meter import Meter
from pamiq_storm.profile import load_profile

SIZES = (1 << 20, 1 << 24, 1 << 28, 1 << 30)
QUICK_SIZES = (1 << 10, 1 << 16)
SPARED = 1.25
"""A large kernel takes at most so much more than its bytes."""
LARGE = 1 << 28

Kernel = Callable[[Tensor, Tensor], object]


@dataclass(frozen=True)
class Timed:
    """One kernel at one size."""

    kernel: str
    bools: int
    bytes: int
    seconds: float
    expected_s: float
    within: bool | None
    """None where it is too small to judge."""


def measure(
    meter: Meter,
    bandwidth: float,
    kernels: Mapping[str, tuple[Kernel, Callable[[int], int]]],
    wire_bytes: Callable[[int], int],
    sizes: Sequence[int],
) -> list[Timed]:
    """Times by events; each kernel takes bools and the wire they travel as."""
    found: list[Timed] = []
    for bools in sizes:
        there = torch.zeros(bools, dtype=torch.bool, device=meter.device)
        wire = torch.zeros(wire_bytes(bools), dtype=torch.uint8, device=meter.device)
        for name, (kernel, bytes_of) in kernels.items():
            seconds = meter.device_s(partial(kernel, there, wire))
            expected = bytes_of(bools) / bandwidth
            within = None if bools < LARGE else seconds <= SPARED * expected
            found.append(Timed(name, bools, bytes_of(bools), seconds, expected, within))
    return found


def ours() -> dict[str, tuple[Kernel, Callable[[int], int]]]:
    """The kernels of this build."""
    native, ops = _native(), torch.ops.pamiq_storm
    return {
        "pack_bool": (ops.pack_bool, native.pack_bool_bytes),
        "unpack_bool": (lambda bools, wire: ops.unpack_bool(wire, bools), native.unpack_bool_bytes),
    }


def _native() -> Any:
    from pamiq_storm import _C

    return _C


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 1 if a large kernel takes longer than it may."""
    profile, out = load_profile(arguments[0]), Path(arguments[1])
    quick = "--quick" in arguments
    bandwidth = profile.memory_bytes_per_s * profile.memory_efficiency
    sizes = QUICK_SIZES if quick else SIZES
    found = measure(Meter(torch.device("cuda", 0)), bandwidth, ours(), _native().bool_wire_bytes, sizes)
    out.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    for one in found:
        print(f"{one.kernel} of {one.bools}: {one.seconds * 1e6:.1f} us, its bytes take {one.expected_s * 1e6:.1f} us")
    return int(any(one.within is False for one in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
