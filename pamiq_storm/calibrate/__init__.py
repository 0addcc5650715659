"""`python -m pamiq_storm calibrate`: writes the hardware profile of the device at hand.

It speaks torch's device-generic interface only, so it measures the simulator as it measures a GPU.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import torch

from pamiq_storm.bench.console import Console, table
from pamiq_storm.calibrate import compute, host, link
from pamiq_storm.calibrate.meter import Meter
from pamiq_storm.profile import NUMBERS, Profile

__all__ = ["calibrate", "run"]


def calibrate(device: torch.device, name: str, description: str) -> Profile:
    """The profile of `device`, which should have nothing else to do; takes some seconds.

    Rates are those reached, so the efficiencies say 1 or compare with matrix products. What cannot be measured from
    here (a limit of page-locked memory) is assumed, and its source says so.
    """
    meter = Meter(device)
    measured = link.measure(meter) | compute.measure(meter) | host.measure(meter)
    by = f"measured on {description} by calibrate on {datetime.now(UTC).date()}"
    values: dict[str, float] = {number: value for number, (value, _) in measured.items()}
    sources = {number: f"{by}: {how}" for number, (_, how) in measured.items()}
    values["memory_bytes"] = torch.accelerator.get_memory_info(device)[1]
    sources["memory_bytes"] = f"{by}: torch's total"
    values["host_memory_bytes"] = 0
    sources["host_memory_bytes"] = "assumed: no limit"
    return Profile(name, description, **values, sources=sources)  # pyright: ignore[reportArgumentType]


def run(device: str, out: Path | None, console: Console) -> int:
    """Measures the device asked for, tells the numbers, and writes them to `out`."""
    from pamiq_storm.bench.hardware import Link, choose

    hardware = choose(device, Link(2e9, 2e9))
    description = f"{hardware.profile}, torch {torch.__version__}"
    name = out.stem if out else re.sub(r"[^a-z0-9]+", "-", hardware.profile.lower()).strip("-")
    profile = calibrate(hardware.device, name, description)
    console.line(table(("number", "value"), [(n, f"{getattr(profile, n):.4g}") for n in NUMBERS]))
    if out:
        profile.write(out)
        console.line(f"wrote {out}")
    return 0
