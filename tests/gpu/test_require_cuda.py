"""On a machine for GPU tests no test is skipped in silence, and every test has a process that runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import ROOT
from tests.require_cuda import ON_BOTH, ON_GPU, ON_NEITHER, TESTS, is_forgiven, place_of, why_left_out

FILES = sorted(place_of(path) for path in TESTS.rglob("test_*.py"))

PROGRAM = """
import pytest

def test_runs():
    pass

def test_is_skipped():
    pytest.skip("not today")

def test_is_forgiven():
    pytest.skip("sim has no sparse tensors")

@pytest.mark.xfail(reason="known", strict=True)
def test_fails_as_known():
    raise ValueError
"""


def run(path: Path, mode: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "tests.require_cuda", "-p", "no:cacheprovider", str(path)]
    settings = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "STORM_REQUIRE_CUDA": mode, **env}
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **settings}, cwd=path.parent, timeout=100
    )


def test_every_file_is_run_by_one_process_or_is_named() -> None:
    assert FILES
    for place in FILES:
        runs = [mode for mode in ("1", "simulator") if not why_left_out(place, mode)]
        named = any(place == known or place.startswith(f"{known}/") for known in ON_NEITHER)
        assert len(runs) == (0 if named else 2 if place in ON_BOTH else 1), place


def test_the_lists_name_files_that_are_there() -> None:
    assert set(ON_BOTH) <= set(FILES)
    assert {"engine", "semantics", "nn", "torch", "live"} <= set(ON_GPU)


def test_who_skips_on_a_gpu_is_run_on_the_simulator() -> None:
    """By the text: a skip on any device but the simulator."""
    skips = re.compile(r"""if device != ["']sim["'][^\n]*:\n\s+pytest\.skip|^ +needs_control\(""", re.MULTILINE)
    found = [p for p in FILES if p.partition("/")[0] in ON_GPU and skips.search((TESTS / p).read_text())]
    assert found
    assert set(found) <= set(ON_BOTH)


def test_a_skip_fails_and_a_forgiven_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(PROGRAM)
    done = run(tmp_path / "test_it.py", "simulator")
    assert done.returncode == 1
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed" in done.stdout
    assert "STORM_REQUIRE_CUDA=simulator allows no skip, and this was one: not today" in done.stdout


def test_a_file_that_skips_as_a_whole_fails(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import pytest\npytest.skip('not here', allow_module_level=True)\n")
    done = run(tmp_path / "test_it.py", "simulator")
    assert done.returncode != 0
    assert "allows no skip, and this was one: not here" in done.stdout


def test_without_a_gpu_nothing_begins(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(PROGRAM)
    done = run(tmp_path / "test_it.py", "1")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "STORM_REQUIRE_CUDA=1, but torch sees no CUDA device: nothing was tested" in done.stderr
    assert "must be 1 or simulator" in run(tmp_path / "test_it.py", "yes").stderr


def test_after_its_time_a_run_begins_no_test_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_one():\n    pass\n")
    done = run(tmp_path / "test_it.py", "simulator", STORM_SUITE_SECONDS="0")
    assert done.returncode == 0
    assert "1 skipped" in done.stdout
    assert "out of time: 0 s are over" in done.stdout


def test_on_the_gpu_only_what_the_simulator_makes_good_may_be_skipped() -> None:
    assert is_forgiven("engine/test_orders.py", "holds streams back", "1")
    assert not is_forgiven("engine/test_orders.py", "holds streams back", "simulator")
    assert not is_forgiven("engine/test_offload.py", "holds streams back", "1")
    assert is_forgiven("semantics/test_contexts.py", "1 CUDA device here", "simulator")
