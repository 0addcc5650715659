"""A tiny run of each suite, as a user starts it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pamiq_storm.bench.registry import SUITES
from pamiq_storm.results import HookRow, Results

CASES = ["kept, CPU tensors", "kept, small sim tensors", "offloaded, sim tensors"]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pamiq_storm", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_each_suite_runs_and_writes_valid_results(suite: str, tmp_path: Path) -> None:
    done = bench(suite, "--quick", "--device", "sim", "--json", str(tmp_path / "r.json"))
    assert done.returncode == 0, done.stderr
    results = Results.read(tmp_path / "r.json")
    assert results.suite == suite
    assert results.simulated
    assert results.rows
    assert done.stderr == ""


def test_hooks_has_a_row_for_each_hook_and_case_and_a_figure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = bench(
        "hooks", "--quick", "--device", "sim", "--json", str(tmp_path / "r.json"), "--plot", str(tmp_path / "r.png")
    )
    assert done.returncode == 0, done.stderr
    rows = [row for row in Results.read(tmp_path / "r.json").rows if isinstance(row, HookRow)]
    assert {row.case for row in rows} == {*CASES, "offloaded, issue only", "flat, 10 tensors", "flat, 100 tensors"}
    for case in CASES:
        storm = "storm_offloaded" if case.startswith("offloaded") else "storm_kept"
        hooks = [row.hook for row in rows if row.case == case]
        assert hooks == ["none", storm, "python_identity", "python_detach", "save_on_cpu"]
    assert all(row.forward_us > 0 and row.tensors > 0 for row in rows)
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_suite_is_refused() -> None:
    done = bench("nonsense")
    assert done.returncode == 2
    assert "hooks" in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="it is there")
def test_a_device_that_is_not_there_is_an_error_in_one_line() -> None:
    done = bench("hooks", "--quick", "--device", "cuda")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no CUDA device")
    assert len(done.stderr.splitlines()) == 1
