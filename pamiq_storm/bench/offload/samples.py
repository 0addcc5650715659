"""What is to be measured and what was found: plain data that travels between processes as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pamiq_storm.bench.hardware import Link, Traffic
from pamiq_storm.bench.offload.steps import Step

AS_IS = "as is"
"""The variant that is the profile itself."""

MACHINES = ("virtual", "ladder", "threads", "cuda")


@dataclass(frozen=True)
class Job:
    """One process's work: a workload under some profiles, with some arms."""

    workload: str
    profiles: tuple[str, ...]
    """Names; on a device with a clock of its own, none."""
    arms: tuple[str, ...]
    machine: str
    """One of `MACHINES`: the simulator's computed clock, the same for the ladder that leads from earlier figures to
    these, the simulator's threads, or a GPU."""
    quick: bool
    variants: bool = False
    """Whether to go through rates that are higher and lower, too."""
    timelines: tuple[str, ...] = ()
    """The profiles under which the measured step is recorded."""
    note: str = ""
    """What only one machine asks for."""


@dataclass(frozen=True)
class Sample:
    """One arm in one setting: its measured steps, or why there are none."""

    workload: str
    profile: str
    variant: str
    arm: str
    steps: tuple[Step, ...] = ()
    link: Link | None = None
    fits: bool | None = None
    """Whether the device's memory was enough; if not, the steps had no limit. None if there was nothing to hold to."""
    needs_bytes: int | None = None
    note: str | None = None
    digest: str | None = None
    timeline: Mapping[str, Any] | None = None


def to_json(samples: list[Sample]) -> list[dict[str, Any]]:
    """For `json.dumps`."""
    return [asdict(sample) for sample in samples]


def from_json(found: list[dict[str, Any]]) -> list[Sample]:
    """What `to_json` gave."""
    return [_sample(**entry) for entry in found]


def job_from_json(found: dict[str, Any]) -> Job:
    """A `Job` whose lists are tuples again."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return Job(**values)


def _sample(steps: list[dict[str, Any]], link: dict[str, float] | None, **others: Any) -> Sample:
    return Sample(
        steps=tuple(Step(**{**step, "traffic": Traffic(**step["traffic"])}) for step in steps),
        link=None if link is None else Link(**link),
        **others,
    )
