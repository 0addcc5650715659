"""A tiny run of each suite, as a user starts it."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pamiq_storm.bench.registry import SUITES
from pamiq_storm.results import HookRow, PublishRow, Results

PARTS = {"offload": ["--workload", "W1"]}
"""What is enough here of a suite whose other parts have tests of their own."""

CASES = ["kept, CPU tensors", "kept, small sim tensors", "offloaded, sim tensors"]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pamiq_storm", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


Run = tuple[subprocess.CompletedProcess[str], Results, Path]
"""The finished process, what it wrote, and its figure."""


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Runs a suite once, however many tests ask."""
    runs: dict[str, Run] = {}

    def run(suite: str) -> Run:
        if suite not in runs:
            folder = tmp_path_factory.mktemp(suite)
            paths = ["--json", str(folder / "r.json")]
            if importlib.util.find_spec("matplotlib"):
                paths += ["--plot", str(folder / "r.png")]
            done = bench(suite, "--quick", "--device", "sim", *PARTS.get(suite, []), *paths)
            assert done.returncode == 0, done.stderr
            runs[suite] = (done, Results.read(folder / "r.json"), folder / "r.png")
        return runs[suite]

    return run


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_each_suite_runs_and_writes_valid_results(suite: str, run_of: Callable[[str], Run]) -> None:
    done, results, _ = run_of(suite)
    assert results.suite == suite
    assert results.simulated
    assert results.rows
    assert done.stderr == ""


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_each_suite_has_a_figure(suite: str, run_of: Callable[[str], Run]) -> None:
    pytest.importorskip("matplotlib")
    assert run_of(suite)[2].read_bytes().startswith(b"\x89PNG")


def test_hooks_has_a_row_for_each_hook_and_case(run_of: Callable[[str], Run]) -> None:
    rows = [row for row in run_of("hooks")[1].rows if isinstance(row, HookRow)]
    assert {row.case for row in rows} == {*CASES, "offloaded, issue only", "flat, 10 tensors", "flat, 100 tensors"}
    for case in CASES:
        storm = "storm_offloaded" if case.startswith("offloaded") else "storm_kept"
        hooks = [row.hook for row in rows if row.case == case]
        assert hooks == ["none", storm, "python_identity", "python_detach", "save_on_cpu"]
    assert all(row.forward_us > 0 and row.tensors > 0 for row in rows)


def test_publish_measures_the_cpu_first_and_then_the_device(run_of: Callable[[str], Run]) -> None:
    done, results, _ = run_of("publish")
    rows = [row for row in results.rows if isinstance(row, PublishRow)]
    places = [row.case.split(": ")[0] for row in rows]
    assert list(dict.fromkeys(places)) == ["cpu", "sim (simulated)"]
    for place in ("cpu", "sim (simulated)"):
        syncs = {row.impl for row in rows if row.case == f"{place}: sync"}
        assert syncs >= {"storm_swap", "storm_copy", "load_state_dict", "foreach_copy"}
        assert any(row.copies for row in rows if row.case == f"{place}: copies at rest")
    assert set(results.facts) == {"cpu", "sim"}
    assert "pamiq_core" in results.facts["cpu"]
    assert "pamiq_core:" in done.stdout
    assert "(simulated)" in done.stdout


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
