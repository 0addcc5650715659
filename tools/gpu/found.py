"""What the steps have left: results, counts of tests, the machine. What is not there yet is None."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pamiq_storm.profile import Profile, ProfileError, load_profile
from pamiq_storm.results import ArmRow, Results

SUITES = {
    "suite": "on the GPU",
    "simulator": "on the simulator, the GPU hidden",
    "memcheck": "the engine's under memcheck",
    "racecheck": "the engine's under racecheck",
}


@dataclass(frozen=True)
class Tests:
    """What pytest counted, and why it skipped what it skipped."""

    __test__ = False  # no test class, whatever pytest thinks of the name

    passed: int
    failed: int
    skipped: dict[str, int]


@dataclass(frozen=True)
class Found:
    """Everything one folder holds."""

    machine: dict[str, Any]
    steps: dict[str, dict[str, Any]]
    tests: dict[str, Tests]
    offload: Results | None
    predicted: Results | None
    hooks: Results | None
    publish: Results | None
    demo: Results | None
    profile: Profile | None
    kernels: list[dict[str, Any]]


def read(folder: Path) -> Found:
    """Reads what is there. A file that is broken counts as not written."""
    state = _json(folder / "state.json")
    return Found(
        machine=_json(folder / "machine.json"),
        steps=state.get("steps", {}),
        tests={name: found for name in SUITES if (found := _tests(folder / f"{name}.xml"))},
        offload=merged([r for path in sorted(folder.glob("offload_*.json")) if (r := _results(path))]),
        predicted=_results(folder / "predicted.json"),
        hooks=_results(folder / "hooks.json"),
        publish=_results(folder / "publish_cuda.json"),
        demo=_results(folder / "demo" / "results.json"),
        profile=_profile(folder / "profile.toml"),
        kernels=_json(folder / "kernels.json") or [],
    )


def merged(parts: list[Results]) -> Results | None:
    """One result of several runs of `bench offload`: each has measured no offload for itself, the first is kept."""
    if not parts:
        return None
    rows: dict[tuple[str, str], ArmRow] = {}
    for row in (row for part in parts for row in part.rows if isinstance(row, ArmRow)):
        rows.setdefault((row.workload, row.arm), row)
    order = list(dict.fromkeys(workload for workload, _ in rows))
    facts: dict[str, Any] = {}
    for part in parts:
        for name, fact in part.facts.items():
            facts[name] = _joined(facts[name], fact) if name in facts else fact
    kept = sorted(rows.values(), key=lambda row: order.index(row.workload))
    return replace(parts[-1], rows=tuple(kept), facts=facts)


def _joined(known: Any, new: Any) -> Any:
    if isinstance(known, dict) and isinstance(new, dict):
        return {**known, **new}
    return known + new if isinstance(known, list) and isinstance(new, list) else new


def _tests(path: Path) -> Tests | None:
    try:
        cases = list(ElementTree.parse(path).iter("testcase"))
    except (OSError, ElementTree.ParseError):
        return None
    skipped: dict[str, int] = {}
    failed = 0
    for case in cases:
        skip = case.find("skipped")
        if skip is not None:
            reason = skip.get("message") or "without a reason"
            skipped[reason] = skipped.get(reason, 0) + 1
        elif case.find("failure") is not None or case.find("error") is not None:
            failed += 1
    return Tests(len(cases) - failed - sum(skipped.values()), failed, skipped)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _results(path: Path) -> Results | None:
    try:
        return Results.read(path)
    except (OSError, ValueError):
        return None


def _profile(path: Path) -> Profile | None:
    try:
        return load_profile(path)
    except (OSError, ProfileError):
        return None


def state_key(folder: Path) -> dict[str, str]:
    """What the outcomes are of: the sources' digest, torch, the device, Python."""
    return _json(folder / "state.json").get("key", {})
