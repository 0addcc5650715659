"""The one format of every result: what the demo and each benchmark suite write.

A result file is a JSON object with `suite`, `device`, `simulated`, `profile`, `torch`, `commit`, `date`, `rows` (a flat
list, every row of the suite's type) and, where a suite has more to say than rows can hold, `facts`.
"""

from __future__ import annotations

import json
import math
import subprocess
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch

from pamiq_storm.atomic import write_atomically


class ResultsError(ValueError):
    """A result that breaks the format; the message names the key."""


@dataclass(frozen=True)
class OffloadRow:
    """One arm of an offload comparison. Times are medians of forward plus backward, without the optimizer."""

    workload: str
    arm: str
    profile: str
    budget_bytes: int | None
    step_ms: float
    step_ms_p10: float
    step_ms_p90: float
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    d2h_bytes: int
    h2d_bytes: int
    pinned_bytes: int
    late_fetches: int | None
    lower_bound_ms: float
    races: int | None
    bit_identical: bool | None


@dataclass(frozen=True)
class HookRow:
    """Host time per saved tensor: the operation that saves it included, and what the hook adds to plain saving."""

    hook: str
    case: str
    forward_us: float
    backward_us: float
    added_forward_us: float
    added_backward_us: float
    tensors: int


@dataclass(frozen=True)
class PublishRow:
    """One way to bring trained parameters to inference, in one case; None where a column has no meaning."""

    impl: str
    case: str
    parameters: int
    tensors: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    copies: float | None
    """Copies of the parameters in memory, the trained one included."""


@dataclass(frozen=True)
class ArmRow:
    """One way to train a workload on a machine. Without figures `note` says why. Times include the optimizer's step."""

    workload: str
    profile: str
    arm: str
    note: str | None = None
    fits: bool | None = None
    """Whether it ran within the device's memory; where not, the figures are those without a limit."""
    step_ms: float | None = None
    step_ms_p10: float | None = None
    step_ms_p90: float | None = None
    forward_ms: float | None = None
    backward_ms: float | None = None
    optimizer_ms: float | None = None
    ratio_to_none: float | None = None
    lower_bound_ms: float | None = None
    ratio_to_bound: float | None = None
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    d2h_bytes: int | None = None
    h2d_bytes: int | None = None
    pinned_bytes: int | None = None
    races: int | None = None
    bit_identical: bool | None = None


@dataclass(frozen=True)
class FidelityRow:
    """A published overhead and the simulator's. Overheads are fractions: of the baseline's time, or throughput lost."""

    source: str
    setting: str
    method: str
    baseline: str
    quoted: str
    published: float
    predicted: float
    lowest: float | None
    """With the link and the matrix products each 20 % faster and slower; None where that was not run."""
    highest: float | None
    method_ms: float
    baseline_ms: float
    fitted: bool
    within: bool


Row = OffloadRow | HookRow | PublishRow | ArmRow | FidelityRow

ROW_TYPES: dict[str, type[Row]] = {
    "demo": OffloadRow,
    "hooks": HookRow,
    "publish": PublishRow,
    "offload": ArmRow,
    "fidelity": FidelityRow,
}
"""The row type of each suite; a new suite adds its own here."""

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Results:
    """Everything one run found out."""

    suite: str
    device: str
    simulated: bool
    profile: str
    torch: str
    commit: str | None
    date: str
    rows: tuple[Row, ...]
    facts: Facts = field(default_factory=dict[str, Any])

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON object; raises `ResultsError` if it breaks the format."""
        document = {f.name: getattr(self, f.name) for f in fields(self)}
        document["rows"] = [asdict(row) for row in self.rows]
        document["facts"] = dict(self.facts)
        return _checked(document)

    @staticmethod
    def from_json(document: object) -> Results:
        """Builds from a JSON object; raises `ResultsError` naming the key that is missing or wrong."""
        checked = _checked(document)
        row_type = ROW_TYPES[checked["suite"]]
        rows = tuple(row_type(**row) for row in checked["rows"])
        values: dict[str, Any] = {**checked, "rows": rows}
        return Results(**values)

    def write(self, path: Path) -> None:
        """Writes the file whole or not at all."""
        write_atomically(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The content of a result file; raises `ResultsError` if it breaks the format."""
        return (json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n").encode()

    @staticmethod
    def read(path: Path) -> Results:
        """Reads and checks a file that `write` made."""
        return Results.from_json(json.loads(path.read_text()))


def collect(
    suite: str, device: str, simulated: bool, profile: str, rows: typing.Sequence[Row], facts: Facts | None = None
) -> Results:
    """Results of a run that ends now, with this torch and this source tree."""
    return Results(
        suite=suite,
        device=device,
        simulated=simulated,
        profile=profile,
        torch=torch.__version__,
        commit=source_commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        rows=tuple(rows),
        facts=facts or {},
    )


def source_commit() -> str | None:
    """The git commit this package is run from, with `+changes` if files differ from it; None outside a checkout."""
    here = Path(__file__)
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    commit = _git(here.parent, "rev-parse", "HEAD")
    changed = _git(here.parent, "status", "--porcelain", "--untracked-files=no")
    return f"{commit}+changes" if changed else commit


def write_together(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes all files into `folder` or, on any failure, none: those written so far and a new folder are removed."""
    new = not folder.exists()
    written: list[Path] = []
    try:
        for name, content in contents.items():
            written.append(folder / name)
            write_atomically(written[-1], content)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        if new and folder.exists():
            folder.rmdir()
        raise


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _checked(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise ResultsError(f"a result is a JSON object, not {type(document).__name__}")
    found = typing.cast("dict[str, Any]", document)
    found.setdefault("facts", {})
    _check_record("result", found, Results)
    if found["suite"] not in ROW_TYPES:
        raise ResultsError(f"suite {found['suite']!r} is unknown; known: {', '.join(ROW_TYPES)}")
    for index, row in enumerate(found["rows"]):
        if not isinstance(row, dict):
            raise ResultsError(f"rows[{index}] is {type(row).__name__}, not an object")
        _check_record(f"rows[{index}]", typing.cast("dict[str, Any]", row), ROW_TYPES[found["suite"]])
    _check_finite("facts", found["facts"])
    return found


def _check_record(where: str, record: dict[str, Any], kind: type) -> None:
    hints = get_type_hints(kind)
    if missing := hints.keys() - record.keys():
        raise ResultsError(f"{where} lacks {', '.join(sorted(missing))}")
    if unknown := record.keys() - hints.keys():
        raise ResultsError(f"{where} has unknown {', '.join(sorted(unknown))}")
    for key, hint in hints.items():
        if not _fits(record[key], hint):
            raise ResultsError(f"{where}.{key} is {record[key]!r}, which is not {_say(hint)}")


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple)
    if get_origin(hint) is not None:
        return isinstance(value, Mapping)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return isinstance(value, hint) and (hint is bool or not isinstance(value, bool))


def _say(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _check_finite(where: str, value: object) -> None:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ResultsError(f"{where} is {value}, which JSON cannot carry")
    if isinstance(value, Mapping):
        for key, item in typing.cast("Mapping[str, object]", value).items():
            _check_finite(f"{where}.{key}", item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(typing.cast("list[object]", value)):
            _check_finite(f"{where}[{index}]", item)
