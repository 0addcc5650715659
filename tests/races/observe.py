"""Running a program and asking the detector what it found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

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


@contextlib.contextmanager
def racing() -> Iterator[None]:
    """Part of a test that races on purpose; the rest of it may not. What was found before stays."""
    before = sim.races() if sim.is_enabled() else []
    yield
    if sim.is_enabled() and not before:
        sim.clear_races()
