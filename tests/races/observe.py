"""Running a program and asking the detector what it found."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pamiq_storm import sim


def observe(program: Callable[[], object]) -> list[sim.Race]:
    """The races of one program, which finds an idle device and fresh memory."""
    torch.accelerator.synchronize()
    torch.accelerator.empty_cache()
    sim.clear_races()
    try:
        program()
        return sim.races()
    finally:
        torch.accelerator.synchronize()
        sim.clear_races()
