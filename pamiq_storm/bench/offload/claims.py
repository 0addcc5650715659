"""What the figures allow to say: statements as functions of the table, tried at every combination of rates.

Who is faster may hang on a rate that a profile has wrong by a fifth. So the whole table is made again with the link and
with matrix products a fifth slower and a fifth faster, and in all pairs of these. A statement is a conclusion if it
holds in each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pamiq_storm.bench.offload.rows import PLAIN, rows
from pamiq_storm.bench.offload.samples import Sample
from pamiq_storm.results import ArmRow

Cell = tuple[str, str]
Table = Mapping[Cell, Mapping[str, ArmRow]]
"""By workload and profile, then by arm; rows without figures are left out."""

OURS = "storm"
HOST_BOUND = ("W3",)
"""Here the host is slower than the device, and the rates of device and link decide nothing."""
COHERENT = ("gh200",)
"""Here the link is no PCIe."""


@dataclass(frozen=True)
class Statement:
    """Text, and whether it is true of a table; None where the table lacks what it speaks of."""

    text: str
    holds: Callable[[Table], bool | None]


@dataclass(frozen=True)
class Verdict:
    """A statement and in how many of the variants it held."""

    text: str
    held: int
    of: int

    @property
    def throughout(self) -> bool:
        return self.held == self.of > 0


def _every(
    cells: Callable[[Cell], bool], arms: Sequence[str], true: Callable[[ArmRow, Mapping[str, ArmRow]], bool | None]
) -> Callable[[Table], bool | None]:
    """True of each of these arms in each of these cells."""

    def holds(table: Table) -> bool | None:
        found = [
            true(there[arm], there) for cell, there in table.items() if cells(cell) for arm in arms if arm in there
        ]
        known = [value for value in found if value is not None]
        return all(known) if known else None

    return holds


def _slower_than(other: str) -> Callable[[ArmRow, Mapping[str, ArmRow]], bool | None]:
    def slower(row: ArmRow, there: Mapping[str, ArmRow]) -> bool | None:
        if other not in there:
            return None
        return _ms(row) > _ms(there[other])

    return slower


def _ms(row: ArmRow) -> float:
    assert row.step_ms is not None
    return row.step_ms


def _pcie(cell: Cell) -> bool:
    return cell[1] not in COHERENT


def _bound_by_device(cell: Cell) -> bool:
    return cell[0] not in HOST_BOUND


def _anywhere(_cell: Cell) -> bool:
    return True


def _ratio(row: ArmRow) -> float:
    return row.ratio_to_none or 0.0


def _of_bound(row: ArmRow) -> float:
    return row.ratio_to_bound or 0.0


STATEMENTS: Sequence[Statement] = (
    Statement(
        "Over PCIe, `save_on_cpu`, `torchtune` and `trl` take longer than checkpointing.",
        _every(_pcie, ("save_on_cpu", "torchtune", "trl"), _slower_than("checkpoint")),
    ),
    Statement(
        "Over PCIe, `storm` as it is now, which offloads whatever does not stay in its window, takes longer than "
        "checkpointing.",
        _every(lambda cell: _pcie(cell) and _bound_by_device(cell), (OURS,), _slower_than("checkpoint")),
    ),
    Statement(
        "`storm` takes less time than `save_on_cpu` and `torchtune` everywhere.",
        _every(_anywhere, ("save_on_cpu", "torchtune"), _slower_than(OURS)),
    ),
    Statement("`storm` takes less time than `trl` everywhere.", _every(_anywhere, ("trl",), _slower_than(OURS))),
    Statement(
        "Where the device is slower than the host, `storm` is within 10 % of its lower bound.",
        _every(_bound_by_device, (OURS,), lambda row, _: _of_bound(row) <= 1.10),
    ),
    Statement(
        "On GH200 `storm` costs at most 5 %, less than any other arm that saves memory.",
        _every(
            lambda cell: not _pcie(cell),
            (OURS,),
            lambda row, there: (
                _ratio(row) <= 1.05
                and all(_ms(row) < _ms(r) for a, r in there.items() if a not in (PLAIN, OURS, "compile@1"))
            ),
        ),
    ),
    Statement(
        "Checkpointing costs between 10 % and 45 % where the device is slower than the host.",
        _every(_bound_by_device, ("checkpoint",), lambda row, _: 1.10 <= _ratio(row) <= 1.45),
    ),
    Statement(
        "`compile@0.1` takes at most as long as checkpointing.",
        _every(_bound_by_device, ("checkpoint",), lambda row, there: _no_faster(row, there.get("compile@0.1"))),
    ),
    Statement(
        "`compile@0.5` takes less time than any arm that offloads, over PCIe.",
        _every(_pcie, ("save_on_cpu", "torchtune", "trl", OURS), _slower_than("compile@0.5")),
    ),
    Statement(
        "With many small tensors `save_on_cpu`, `torchtune` and `trl` take at least four times as long as no offload.",
        _every(
            lambda cell: not _bound_by_device(cell),
            ("save_on_cpu", "torchtune", "trl"),
            lambda row, _: _ratio(row) >= 4,
        ),
    ),
    Statement(
        "No arm has a race on the default stream.",
        lambda table: _no_races([row for there in table.values() for row in there.values()]),
    ),
)


def _no_faster(row: ArmRow, other: ArmRow | None) -> bool | None:
    return None if other is None else _ms(row) >= _ms(other)


def _no_races(found: Sequence[ArmRow]) -> bool | None:
    counts = [row.races for row in found if row.races is not None]
    return not any(counts) if counts else None


def table_of(found: Sequence[ArmRow]) -> Table:
    """The rows with figures, by cell and arm."""
    table: dict[Cell, dict[str, ArmRow]] = {}
    for row in found:
        if row.step_ms is not None:
            table.setdefault((row.workload, row.profile), {})[row.arm] = row
    return table


def tables(samples: Sequence[Sample]) -> dict[str, Table]:
    """One for each variant."""
    names = dict.fromkeys(sample.variant for sample in samples)
    return {name: table_of(rows(samples, name)) for name in names}


def judge(found: Mapping[str, Table], statements: Sequence[Statement] = STATEMENTS) -> list[Verdict]:
    """Each statement that speaks of something measured, tried on each variant."""
    verdicts: list[Verdict] = []
    for statement in statements:
        values = [value for value in map(statement.holds, found.values()) if value is not None]
        if values:
            verdicts.append(Verdict(statement.text, sum(values), len(values)))
    return verdicts


def against_others(found: Mapping[str, Table]) -> dict[str, dict[str, list[str]]]:
    """For each other arm, the cells in which ours takes less time throughout, more throughout, or it depends."""
    first = next(iter(found.values()), {})
    result: dict[str, dict[str, list[str]]] = {}
    for cell, there in first.items():
        for arm in there:
            if arm in (PLAIN, OURS) or OURS not in there:
                continue
            faster = [_ms(table[cell][OURS]) < _ms(table[cell][arm]) for table in found.values()]
            kind = "faster" if all(faster) else "slower" if not any(faster) else "depends"
            entry = result.setdefault(arm, {"faster": [], "slower": [], "depends": []})
            entry[kind].append(" on ".join(cell))
    return result


def ranges(found: Mapping[str, Table]) -> dict[str, dict[str, list[float]]]:
    """Least and greatest ratio to no offload over the variants, by cell and arm."""
    result: dict[str, dict[str, list[float]]] = {}
    for table in found.values():
        for cell, there in table.items():
            for arm, row in there.items():
                low_high = result.setdefault(" on ".join(cell), {}).setdefault(arm, [_ratio(row), _ratio(row)])
                low_high[:] = min(low_high[0], _ratio(row)), max(low_high[1], _ratio(row))
    return result


def sensitivity(samples: Sequence[Sample]) -> dict[str, Any]:
    """Everything above as facts of a result."""
    found = tables(samples)
    return {
        "variants": list(found),
        "verdicts": [asdict(verdict) for verdict in judge(found)],
        "storm_against": against_others(found),
        "ratio_to_none": ranges(found),
    }
