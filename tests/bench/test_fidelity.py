"""Predictions of published measurements: how they are judged, that they are the same each time, and what is kept."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pamiq_storm.bench.fidelity.predict import _solved
from pamiq_storm.bench.fidelity.published import ROWS, SETTINGS, Fit, Row
from pamiq_storm.bench.fidelity.report import summary, within
from pamiq_storm.results import FidelityRow, Results

KEPT = Results.read(Path(__file__).parents[2] / "benchmarks" / "results" / "fidelity.json")
KEPT_ROWS = [row for row in KEPT.rows if isinstance(row, FidelityRow)]


@pytest.mark.parametrize(
    ("published", "predicted", "met"),
    [
        (0.40, 0.499, True),
        (0.40, 0.51, False),
        (0.40, 0.301, True),
        (0.40, 0.29, False),
        (0.02, 0.049, True),
        (0.02, -0.011, False),
        (-0.004, 0.025, True),
    ],
)
def test_a_prediction_is_met_within_a_quarter_or_three_points(published: float, predicted: float, met: bool) -> None:
    assert within(published, predicted) is met


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\.?\d*", text.split(": ", 1)[-1])]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.setting}, {row.method}")
def test_the_overhead_is_that_of_the_quoted_figures(row: Row) -> None:
    quoted = numbers(row.says)
    if row.of_throughput:
        without = numbers(SETTINGS[row.setting].fit.says)[0]  # pyright: ignore[reportOptionalMemberAccess]
        assert 1 - quoted[0] / without == pytest.approx(row.overhead, abs=0.001)
    elif len(quoted) == 2:
        assert quoted[0] / quoted[1] - 1 == pytest.approx(row.overhead, abs=1e-6)
    else:
        assert quoted == [pytest.approx(100 * row.overhead)]


def test_no_overhead_was_used_to_fit_and_one_constant_at_most_for_a_source() -> None:
    assert not any(row.fitted for row in ROWS)
    fits = [setting.source for setting in SETTINGS.values() if setting.fit]
    assert len(fits) == len(set(fits))


def test_the_kept_results_are_of_these_rows_and_judged_by_the_rule() -> None:
    assert [(row.setting, row.method, row.published) for row in KEPT_ROWS] == [
        (row.setting, row.method, pytest.approx(row.overhead)) for row in ROWS
    ]
    assert all(row.within is within(row.published, row.predicted) for row in KEPT_ROWS)
    assert KEPT.simulated


def test_at_least_five_held_out_overheads_are_met_in_the_kept_results() -> None:
    assert sum(row.within for row in KEPT_ROWS if not row.fitted) >= 5
    assert summary(KEPT_ROWS).startswith("8 of 10 held-out overheads are met")


def test_a_constant_is_found_where_there_is_one() -> None:
    fit = Fit("matmul_efficiency", "none", 1.5, "it took so long")
    assert _solved(lambda rate: 0.5 + 0.4 / rate, fit) == pytest.approx(0.4, rel=1e-3)
    assert _solved(lambda rate: max(0.9, 0.5 / rate) + 0.1, fit) == pytest.approx(0.5 / 1.4, rel=1e-3)
    with pytest.raises(RuntimeError, match=r"no matmul_efficiency gives a step of 1\.500 s: it took so long"):
        _solved(lambda rate: 2 + 0.4 / rate, fit)


def quick(path: Path) -> list[dict[str, object]]:
    command = [sys.executable, "-m", "pamiq_storm", "bench", "fidelity", "--quick", "--device", "sim"]
    done = subprocess.run([*command, "--json", str(path)], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())["rows"]


def test_two_processes_predict_the_same_to_the_last_bit(tmp_path: Path) -> None:
    assert quick(tmp_path / "a.json") == quick(tmp_path / "b.json")


def test_another_device_than_the_simulator_is_refused() -> None:
    command = [sys.executable, "-m", "pamiq_storm", "bench", "fidelity", "--device", "cuda"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "use --device sim or auto" in done.stderr
