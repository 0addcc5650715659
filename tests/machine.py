"""The machine that a test can hold, slow down and break: the simulator, or the double of the CUDA runtime.

`pamiq_storm.sim` controls either; only the device has another name. A real GPU goes its own way.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pamiq_storm import sim
from tests.cuda_double import control

DEVICE = "cuda" if torch.cuda.is_available() else "sim"


def needs_control(what: str) -> None:
    """Skip the test on a real GPU, which cannot do what it needs."""
    if DEVICE == "cuda" and not control.is_active():
        pytest.skip(f"{what}: run on the simulator, or under tests.cuda_double")


def start(**settings: Any) -> None:
    """Have the machine in a process of one's own, with these settings of `sim.enable`."""
    if DEVICE == "sim":
        sim.enable(**settings)
        return
    control.adopt()
    sim.configure(**settings)
