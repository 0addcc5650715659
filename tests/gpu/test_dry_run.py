"""The whole of `make gpu` runs, on the double of CUDA's runtime: nothing is done on a GPU for the first time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pamiq_storm.results import ArmRow, Results
from tests.programs import ROOT
from tools.gpu.steps import EAGER

pytestmark = pytest.mark.timeout(900)

if torch.version.cuda is None:
    pytest.skip("needs the CUDA build of torch, which the double stands under", allow_module_level=True)
if torch.cuda.is_available():
    pytest.skip("the double stands where there is no device", allow_module_level=True)

LEFT_OUT = {"compute-sanitizer memcheck", "compute-sanitizer racecheck", "offload, compiled"}


def make_gpu(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "gpu", "DRY=1", f"PYTHON={sys.executable}", f"ARGS=--folder {folder} {' '.join(options)}"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=850)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("gpu")
    return make_gpu(folder), folder


@pytest.fixture(scope="module")
def summary(run: tuple[subprocess.CompletedProcess[str], Path]) -> dict[str, dict[str, dict[str, str]]]:
    done, folder = run
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((folder / "results" / "summary.json").read_text())


def test_every_step_passes_or_is_left_out_by_name(summary: dict[str, dict[str, dict[str, str]]]) -> None:
    outcomes = {name: step["status"] for name, step in summary["steps"].items()}
    assert {name for name, status in outcomes.items() if status != "passed"} == LEFT_OUT
    assert {
        "build",
        "suite",
        "calibrate",
        "demo",
        "hooks",
        "kernels",
        "offload W1",
        "predict",
        "publish",
    } <= outcomes.keys()


def test_tests_were_run_on_the_device_and_none_was_skipped_in_silence(summary: dict[str, dict[str, object]]) -> None:
    for name in ("suite", "simulator"):
        counted = summary["tests"][name]
        assert isinstance(counted, dict)
        assert counted["passed"] > 10
        assert counted["failed"] == 0


def test_every_arm_that_is_installed_was_measured_beside_its_prediction(
    run: tuple[subprocess.CompletedProcess[str], Path], summary: dict[str, list[dict[str, object]]]
) -> None:
    measured = Results.read(run[1] / "results" / "offload.json")
    rows = {row.arm: row for row in measured.rows if isinstance(row, ArmRow)}
    assert list(rows) == ["none", *EAGER]
    assert not measured.simulated
    assert rows["storm"].bit_identical
    assert rows["storm"].d2h_bytes == rows["storm"].h2d_bytes > 0  # type: ignore[operator]
    there = {name for name, row in rows.items() if row.step_ms is not None} - {"none"}
    assert {"checkpoint", "save_on_cpu", "storm"} <= there
    compared = [one for one in summary["compared"] if one["suite"] == "offload"]
    assert {one["arm"] for one in compared} == there
    assert [one for one in compared if one["predicted"] is None] == []
    assert {one["suite"] for one in summary["compared"]} == {"offload", "hooks", "publish"}


def test_the_page_says_that_no_gpu_took_part(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    text = (run[1] / "gpu-results.md").read_text()
    assert "No GPU took part" in text
    assert "CUDA double" in text
    assert "compute-sanitizer memcheck | left out: the double has no GPU" in text
    for link in re.findall(r"!\[\w+\]\(([^)]+)\)", text):
        assert (run[1] / link).exists()


def test_nothing_of_it_gets_among_the_results_that_are_kept(
    run: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    assert "CUDA double" not in (ROOT / "docs" / "gpu-results.md").read_text()
    kept = ROOT / "benchmarks" / "results" / "gpu" / "summary.json"
    assert not kept.exists() or not json.loads(kept.read_text())["machine"]["dry"]


def test_a_second_call_has_nothing_left_to_do(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (run[1] / "logs").iterdir()}
    assert make_gpu(run[1]).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (run[1] / "logs").iterdir()} == before
