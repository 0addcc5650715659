"""The main job in its quick form, as a user starts it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pamiq_storm.results import OffloadRow, Results
from tests.machine import DEVICE

Run = tuple[subprocess.CompletedProcess[str], Path]
"""The finished process and the folder it wrote into."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("demo") / "out"
    command = [sys.executable, "-m", "pamiq_storm", "demo", "--quick", "--device", DEVICE, "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, timeout=110), out


@pytest.fixture(scope="module")
def results(run: Run) -> Results:
    done, out = run
    assert done.returncode == 0, done.stdout + done.stderr
    return Results.read(out / "results.json")


@pytest.fixture(scope="module")
def facts(results: Results) -> dict[str, Any]:
    return dict(results.facts)


def rows(results: Results) -> dict[str, OffloadRow]:
    return {row.arm: row for row in results.rows if isinstance(row, OffloadRow)}


def test_only_the_results_are_written(run: Run, results: Results) -> None:
    assert {p.name for p in run[1].iterdir()} <= {"results.json", "memory.png"}
    assert results.suite == "demo"


def test_the_figure_is_drawn_where_matplotlib_is(run: Run) -> None:
    pytest.importorskip("matplotlib")
    assert (run[1] / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_everything_says_whether_it_is_simulated(run: Run, results: Results) -> None:
    assert results.device == DEVICE
    assert results.simulated == (DEVICE == "sim")
    assert ("every figure is simulated" in run[0].stdout) == results.simulated


def test_a_log_file_gets_no_progress_bar(run: Run) -> None:
    assert run[0].stderr == ""
    assert "\r" not in run[0].stdout


def test_without_storm_memory_runs_out(facts: dict[str, Any]) -> None:
    assert "out of memory" in facts["without_storm"]["error"]
    assert facts["without_storm"]["losses"] == []


def test_with_storm_it_trains_under_the_same_limit(facts: dict[str, Any]) -> None:
    training = facts["with_storm"]
    assert training["error"] is None
    assert len(training["losses"]) == facts["sizes"]["train_steps"]
    assert training["losses"][-1] < training["losses"][0]
    assert training["peak_allocated_bytes"] <= facts["memory_limit_bytes"]


def test_losses_and_gradients_agree_to_the_bit(facts: dict[str, Any]) -> None:
    identity = facts["identity"]
    assert identity["different"] == []
    assert identity["fetched_bytes"] > 0
    assert identity["tensors"] > 20 * identity["steps"]


def test_each_arm_has_a_row(results: Results) -> None:
    found = rows(results)
    assert list(found) == ["none", "save_on_cpu", "checkpoint", "storm"]
    assert [row.bit_identical for row in found.values()] == [None, True, True, True]
    if results.simulated:  # a real link does not count
        assert found["none"].d2h_bytes == found["checkpoint"].h2d_bytes == 0
        assert found["storm"].d2h_bytes > 0
        assert found["save_on_cpu"].d2h_bytes > found["storm"].d2h_bytes
    assert found["storm"].peak_allocated_bytes < found["none"].peak_allocated_bytes
    assert all(row.peak_allocated_bytes <= row.peak_reserved_bytes for row in found.values())


def test_training_and_inference_run_beside_each_other(run: Run, facts: dict[str, Any]) -> None:
    live = facts["live"]
    assert live["error"] is None
    assert live["losses"][-1] < live["losses"][0]
    assert live["versions"] == len(live["losses"]) + 1
    assert live["versions_served"][0] == 0
    assert len(live["versions_served"]) > 1
    assert live["torn"] == live["misdated"] == 0
    for times in ("inference_alone_ms", "inference_beside_training_ms", "sync_ms"):
        assert live[times]["count"] > 1
        assert 0 < live[times]["p50"] <= live[times]["p99"] <= live[times]["max"]
    assert live["first_line"] != live["last_line"]
    assert f"first version: {live['first_line']}" in run[0].stdout


def test_what_must_be_so_was_checked(facts: dict[str, Any]) -> None:
    assert len(facts["correctness"]) == 12
    assert all(check["held"] for check in facts["correctness"])
    assert len(facts["targets"]) == 4


def test_the_memory_lines_cover_a_whole_step(facts: dict[str, Any]) -> None:
    for line in facts["memory_lines"]:
        assert len(line["time_ms"]) == len(line["allocated_bytes"]) > 20
        assert line["time_ms"] == sorted(line["time_ms"])
        assert 0 < line["turn_ms"] < line["time_ms"][-1]


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    command = [sys.executable, "-m", "pamiq_storm", "demo", "--quick", "--out", str(tmp_path / "file" / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "cannot write results" in done.stderr
