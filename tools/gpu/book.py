"""What came of each step, in a file that outlives the run, for one state of the sources and one machine."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

SOURCES = ("csrc", "pamiq_storm", "tests", "tools", "benchmarks", "setup.py", "pyproject.toml")
NOT_SOURCES = (".so", ".pyc", ".pyi")
GENERATED = ("benchmarks/results",)
"""What a run itself may write."""


class Status(StrEnum):
    """How a step ended, or why it did not begin."""

    PASSED = "passed"
    FAILED = "failed"
    OUT_OF_TIME = "not run: out of time"
    NOT_RUN = "not run"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class Outcome:
    """What is to be said of one step."""

    status: Status
    reason: str = ""
    seconds: float = 0

    def __str__(self) -> str:
        took = f" in {self.seconds:.0f} s" if self.status is Status.PASSED else ""
        return f"{self.status}{took}" + (f": {self.reason}" if self.reason else "")


class Book:
    """Outcomes by step. Those of other sources or of another machine do not count."""

    def __init__(self, path: Path, key: Mapping[str, str]) -> None:
        self._path, self._key = path, dict(key)
        kept = _read(path)
        self.goes_on = kept.get("key") == self._key
        """Whether there is something to go on from: if not, what lies beside the book is of other sources."""
        there = kept["steps"] if self.goes_on else {}
        self.outcomes = {name: _outcome(entry) for name, entry in there.items()}

    def status(self, name: str) -> Status | None:
        """None for a step that nobody has come to yet."""
        found = self.outcomes.get(name)
        return found and found.status

    def record(self, name: str, outcome: Outcome) -> None:
        """Written at once: a kill loses only what is under way."""
        self.outcomes[name] = outcome
        steps = {name: asdict(outcome) for name, outcome in self.outcomes.items()}
        _write(self._path, json.dumps({"key": self._key, "steps": steps}, indent=1))


def digest_of_sources(root: Path) -> str:
    """Changes with any source file. Needs no git: a machine for tests may have been given files only."""
    found = hashlib.sha256()
    for top in SOURCES:
        paths = sorted((root / top).rglob("*")) if (root / top).is_dir() else [root / top]
        for path in paths:
            name = path.relative_to(root).as_posix()
            if path.is_file() and path.suffix not in NOT_SOURCES and not name.startswith(GENERATED):
                found.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def _outcome(entry: Mapping[str, Any]) -> Outcome:
    return Outcome(Status(entry["status"]), entry["reason"], entry["seconds"])


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return {}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)  # noqa: PTH105  (the old file or the new one, whenever it is killed)
