"""Earlier figures of the same arms, taken on another simulated accelerator, and their settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pamiq_storm.profile import Profile


@dataclass(frozen=True)
class EarlierRow:
    """Times relative to no offload, by arm; ours was an engine that shared no bytes between saved views."""

    workload: str
    profile: str
    none_ms: float
    ratio: Mapping[str, float]


@dataclass(frozen=True)
class EarlierMemory:
    """Peak of allocated memory and bytes to the host, by arm, in GB."""

    workload: str
    peak_gb: Mapping[str, float]
    d2h_gb: Mapping[str, float]


@dataclass(frozen=True)
class Earlier:
    """The tables, how they were taken, and the numbers of the machines where they differ from the profiles."""

    settings: str
    numbers: Mapping[str, Mapping[str, float]]
    rows: tuple[EarlierRow, ...]
    memory: tuple[EarlierMemory, ...]

    @staticmethod
    def read(path: Path) -> Earlier:
        """Reads the file of data."""
        found = json.loads(path.read_text())
        rows = tuple(EarlierRow(**row) for row in found["rows"])
        memory = tuple(EarlierMemory(**row) for row in found["memory"])
        return Earlier(found["settings"], found["numbers"], rows, memory)

    def machine(self, profile: Profile) -> Profile:
        """The profile with the numbers that were used then."""
        return profile.replace(**self.numbers[profile.name])
