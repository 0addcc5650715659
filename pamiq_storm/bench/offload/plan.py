"""Which arm is measured on what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pamiq_storm.bench.offload.arms import KINDS
from pamiq_storm.bench.offload.samples import Job
from pamiq_storm.bench.offload.workloads import recipes
from pamiq_storm.profile import ProfileError, load_profile

BOTH = ("rtx4090", "h100-pcie")
PROFILES: Mapping[str, tuple[str, ...]] = {
    "unet": BOTH,  # the longest to compile comes first
    "W1": BOTH,
    "W2:2048": BOTH,
    "W2:8192": (*BOTH, "gh200"),
    "W2:32768": BOTH,
    "W3": BOTH,
    "W4": BOTH,
}
TIMELINES: Mapping[str, tuple[str, ...]] = {"W1": ("rtx4090",), "W2:8192": ("h100-pcie",)}
QUICK_COMPILED = {"W1": ("compile@0.5",)}
"""Compiling takes seconds each time: a quick run does it once."""


@dataclass(frozen=True)
class Selection:
    """Parts of the whole, by name; None is all of them."""

    workload: str | None = None
    profile: str | None = None
    arms: Sequence[str] | None = None
    sensitivity: bool = True
    """Again with other rates, on the simulator; a quick run tries one other in any case."""
    rounds: int | None = None
    """Fresh processes of each arm, on a GPU."""


def jobs(machine: str, quick: bool, selection: Selection) -> list[Job]:
    """The jobs of a run.

    Raises:
        RuntimeError: the selection names what there is not.
    """
    known = list(recipes(quick))
    if selection.workload is not None and selection.workload not in known:
        raise RuntimeError(f"workload {selection.workload!r} is unknown; there are {', '.join(known)}")
    if unknown := [arm for arm in selection.arms or () if arm not in KINDS]:
        raise RuntimeError(f"arms {', '.join(unknown)} are unknown; there are {', '.join(KINDS)}")
    if selection.profile is not None and machine != "virtual":
        raise RuntimeError(f"--profile {selection.profile} is for the simulator; this runs on a real device")
    if selection.rounds is not None and machine == "virtual":
        raise RuntimeError(f"--rounds {selection.rounds} is for a real device: on the simulator every run is the same")
    if selection.rounds is not None and selection.rounds < 1:
        raise RuntimeError(f"--rounds {selection.rounds}: at least one is needed")
    try:
        _ = selection.profile and load_profile(selection.profile)
    except ProfileError as error:
        raise RuntimeError(str(error)) from None
    names = [name for name in PROFILES if name in known and selection.workload in (None, name)]
    return [_job(name, machine, quick, selection) for name in names]


def _job(workload: str, machine: str, quick: bool, selection: Selection) -> Job:
    profiles = (selection.profile,) if selection.profile else PROFILES[workload][: 1 if quick else None]
    return Job(
        workload=workload,
        profiles=profiles if machine == "virtual" else (),
        arms=_arms(workload, quick, selection),
        machine=machine,
        quick=quick,
        variants=machine == "virtual" and (quick or selection.sensitivity),
        timelines=tuple(p for p in TIMELINES.get(workload, ()) if p in profiles),
    )


def _arms(workload: str, quick: bool, selection: Selection) -> tuple[str, ...]:
    wanted = selection.arms
    if wanted is None:
        left_out = set(KINDS) - {*QUICK_COMPILED.get(workload, ())} if quick else set[str]()
        left_out = {name for name in left_out if name.startswith("compile")}
        wanted = [name for name in KINDS if name not in left_out]
    return tuple(name for name in KINDS if name == "none" or name in wanted)
