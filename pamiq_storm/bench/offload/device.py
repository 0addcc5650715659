"""The clock and the counters of the device that is measured, the same for all of them.

Under the simulator's virtual clock every figure follows from the program and the profile alone. A real device, and the
simulator with threads, are measured by the host's clock.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch

from pamiq_storm import sim
from pamiq_storm.bench.hardware import Hardware, Link, Traffic
from pamiq_storm.profile import Profile


class Instrument(Protocol):
    """What the measuring code asks of a device."""

    device: torch.device
    simulated: bool
    virtual: bool
    """Whether time is computed: then it is the same in every run, and the host's work has to be charged by name."""
    counts_traffic: bool

    def now_ns(self) -> int:
        """The clock that step times are read from. Whole numbers: a difference is the same at any hour."""
        ...

    def charge(self, seconds: float) -> None:
        """Host work that a computed clock does not see by itself."""
        ...

    def limit_memory(self, limit_bytes: int | None) -> None:
        """Device memory that may be used; None lifts the limit."""
        ...

    def link(self) -> Link:
        """Rates of the link with pinned memory."""
        ...

    def reset(self) -> None:
        """Peaks fall to the present value, counts to zero."""
        ...

    def traffic(self) -> Traffic:
        """Bytes over the link since `reset`; nothing where the device does not count them."""
        ...

    def peak_pinned_bytes(self) -> int:
        """Most page-locked memory since `reset`."""
        ...

    def races(self) -> int | None:
        """Findings of the race detector since `reset`, None where there is none."""
        ...

    def timeline(self) -> AbstractContextManager[Any]:
        """Records what the device does inside, or gives None."""
        ...


class HostClock:
    """A device that takes real time."""

    virtual = False

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        self.device = hardware.device
        self.simulated = hardware.simulated
        self.counts_traffic = hardware.traffic() is not None

    def now_ns(self) -> int:
        return time.perf_counter_ns()

    def charge(self, seconds: float) -> None:
        """Nothing: it passes by itself."""
        del seconds

    def limit_memory(self, limit_bytes: int | None) -> None:
        self._hardware.limit_memory(limit_bytes)

    def link(self) -> Link:
        return self._hardware.link()

    def reset(self) -> None:
        self._hardware.reset_peaks()

    def traffic(self) -> Traffic:
        return self._hardware.traffic() or Traffic(0, 0)

    def peak_pinned_bytes(self) -> int:
        return self._hardware.peak_pinned_bytes()

    def races(self) -> int | None:
        return None

    def timeline(self) -> AbstractContextManager[None]:
        return contextlib.nullcontext()


class VirtualClock:
    """The simulator's computed time, under a profile that may change between steps."""

    simulated = virtual = counts_traffic = True

    def __init__(self, profile: Profile, memory: str) -> None:
        """`memory` is `ghost` for sizes that no machine at hand can hold, `real` for numbers that are right."""
        self._detects_races = True
        sim.enable(memory=memory, clock="virtual", profile=profile, limit=None, races=True)
        self.device = torch.device("sim", 0)
        self._profile = profile

    def use(self, profile: Profile) -> None:
        """Continues as another machine."""
        torch.accelerator.synchronize()
        self._profile = profile
        sim.configure(profile=profile)

    def detect_races(self, wanted: bool) -> None:
        """Whether to look for races, which takes the computer's time but none of the clock's.

        A step begins with a synchronisation, so that it comes after all that went unwatched.
        """
        if wanted != self._detects_races:
            self._detects_races = wanted
            sim.configure(races=wanted)

    def now_ns(self) -> int:
        return sim.now_ns()

    def charge(self, seconds: float) -> None:
        sim.advance(seconds)

    def limit_memory(self, limit_bytes: int | None) -> None:
        sim.configure(limit=limit_bytes)

    def link(self) -> Link:
        return Link(self._profile.d2h_bytes_per_s, self._profile.h2d_bytes_per_s)

    def reset(self) -> None:
        torch.accelerator.reset_peak_memory_stats()
        sim.reset_stats()
        sim.clear_races()

    def traffic(self) -> Traffic:
        stats = sim.stats()
        return Traffic(stats.d2h_bytes, stats.h2d_bytes)

    def peak_pinned_bytes(self) -> int:
        return sim.stats().peak_pinned_bytes

    def races(self) -> int | None:
        return sum(race.count for race in sim.races()) if self._detects_races else None

    @contextlib.contextmanager
    def timeline(self) -> Iterator[Any]:
        with sim.timeline() as timeline:
            yield timeline
