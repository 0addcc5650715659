"""What was measured against what the simulator predicted. All of it plain data, as it goes to JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pamiq_storm.bench.fidelity.report import within
from pamiq_storm.bench.offload import charges
from pamiq_storm.results import ArmRow, HookRow, Results

NONE = "none"
YARDSTICK = "foreach_copy"
PEAK_POINTS = 0.03
"""Peaks follow from the program: a prediction is met within three points of no offload's."""


@dataclass(frozen=True)
class Compared:
    """One figure, both ways. `within` is None where there is nothing to judge by."""

    suite: str
    case: str
    arm: str
    figure: str
    measured: float
    predicted: float | None
    within: bool | None
    note: str = ""


def arms(measured: Sequence[ArmRow], predicted: Sequence[ArmRow]) -> list[Compared]:
    """Times and peaks of each arm by those of no offload in the same run, where both ran."""
    expected = {(row.workload, row.arm): row for row in predicted}
    found: list[Compared] = []
    for row in measured:
        if row.arm == NONE or row.step_ms is None:
            continue
        other = expected.get((row.workload, row.arm))
        found += _ratios(row, measured, other, predicted)
    return found


def _ratios(
    row: ArmRow, measured: Sequence[ArmRow], other: ArmRow | None, predicted: Sequence[ArmRow]
) -> list[Compared]:
    time = row.ratio_to_none
    peak = _peak_ratio(row, measured)
    then_time = other and other.ratio_to_none
    then_peak = other and _peak_ratio(other, predicted)
    found: list[Compared] = []
    if time is not None:
        met = None if then_time is None else within(time - 1, then_time - 1)
        found.append(Compared("offload", row.workload, row.arm, "step, of none", time, then_time, met))
    if peak is not None:
        met = None if then_peak is None else abs(peak - then_peak) <= PEAK_POINTS
        found.append(Compared("offload", row.workload, row.arm, "peak, of none", peak, then_peak, met))
    return found


def _peak_ratio(row: ArmRow, rows: Sequence[ArmRow]) -> float | None:
    """None where no offload did not fit: what it would have needed, nobody has measured."""
    plain = next((r for r in rows if (r.workload, r.arm) == (row.workload, NONE)), None)
    if plain is None or not plain.peak_allocated_bytes or not row.peak_allocated_bytes:
        return None
    return row.peak_allocated_bytes / plain.peak_allocated_bytes


def hooks(measured: Sequence[HookRow], python_hook_s: float) -> list[Compared]:
    """Host time that hooks add for each saved tensor, against what the simulator's clock charges for it.

    The clock charges issuing the copies besides, which is in the measured figure: so at least this much is predicted.
    """
    ours = [1e6 * charges.STORM[name] for name in ("storm::offload", "storm::fetch")]
    bare = [1e6 * charges.BARE_PYTHON.pack_s, 1e6 * charges.BARE_PYTHON.unpack_s]
    known: Mapping[str, Sequence[float]] = {
        "storm_offloaded": ours,
        "python_detach": bare,
        "save_on_cpu": [1e6 * python_hook_s] * 2,
    }
    found: list[Compared] = []
    for row in measured:
        if row.hook == NONE or row.case.startswith("flat") or "CPU" in row.case:
            continue
        charged = known.get(row.hook)
        for index, (way, value) in enumerate((("forward", row.added_forward_us), ("backward", row.added_backward_us))):
            predicted = None if charged is None else charged[index]
            met = None if predicted is None else value <= 1.25 * predicted
            found.append(Compared("hooks", row.case, row.hook, f"{way}, us", value, predicted, met))
    return found


def publish(measured: Results, predicted: Results | None) -> list[Compared]:
    """A sync by the plain copy of the same tensors, on the device and on the simulator's threads.

    Those threads are processor cores: the ratio is expected to be alike, no more, and is not judged.
    """
    rows = _sync_ratios(measured)
    others = _sync_ratios(predicted) if predicted else {}
    return [
        Compared("publish", size, impl, f"sync, of {YARDSTICK}", ratio, others.get(size, {}).get(impl), None)
        for size, ratios in rows.items()
        for impl, ratio in ratios.items()
    ]


def _sync_ratios(results: Results) -> Mapping[str, Mapping[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for facts in results.facts.values():
        found |= facts.get("sync_ratio_to_foreach_copy", {})
    return found
