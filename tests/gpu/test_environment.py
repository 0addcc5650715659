"""What `make gpu` needs and does not find is said in one sentence, with the cure."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import ROOT
from tools.gpu import machine, packages, sanitizer
from tools.gpu.machine import Machine, Unsuitable
from tools.gpu.steps import COMPILED, EAGER, WORKLOADS, Place, steps

A_MACHINE = Machine("2.13.0", "13.0", "NVIDIA Test", 80 << 30, "9.0", "580.1", "3.12.3", "a processor", 16)


def place(tmp_path: Path, dry: bool = False) -> Place:
    return Place(ROOT, tmp_path, dry, None)


def pretend(tmp_path: Path, torch: str) -> dict[str, str]:
    (tmp_path / "torch.py").write_text(torch)
    return {"PYTHONPATH": str(tmp_path)}


@pytest.mark.parametrize(
    ("torch", "said"),
    [
        ("raise ModuleNotFoundError('no torch', name='torch')", "has no torch: type `make gpu PYTHON="),
        ("class version: cuda = None\n__version__ = '2.13'", "is a build without CUDA: type `make gpu PYTHON="),
        (
            "class version: cuda = '13.0'\nclass cuda: is_available = lambda: False\n__version__ = '2.13'",
            "torch sees no CUDA device here: take a machine with an NVIDIA GPU, or type `make gpu DRY=1`.",
        ),
        ("raise OSError('libcudart.so.13 is missing')", "torch cannot be asked .*libcudart.so.13 is missing"),
    ],
    ids=["no torch", "no CUDA", "no device", "broken"],
)
def test_an_unsuitable_machine_is_refused_in_one_sentence(tmp_path: Path, torch: str, said: str) -> None:
    with pytest.raises(Unsuitable) as refused:
        machine.look((), pretend(tmp_path, torch), tmp_path)
    assert re.search(said, str(refused.value))
    assert len(str(refused.value).splitlines()) == 1


def test_the_command_says_so_and_writes_nothing(tmp_path: Path) -> None:
    env = {**os.environ, **pretend(tmp_path, "class version: cuda = None\n__version__ = '2.13'")}
    command = [sys.executable, "-m", "tools.gpu", "--folder", str(tmp_path / "build")]
    before = (ROOT / "docs" / "gpu-results.md").read_bytes()
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert done.stderr.startswith("make gpu: torch 2.13 of ")
    assert len(done.stderr.splitlines()) == 1
    assert (ROOT / "docs" / "gpu-results.md").read_bytes() == before
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["lock"]


def distribution(folder: Path, name: str, version: str) -> None:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_only_what_is_missing_or_too_old_is_wanted(tmp_path: Path) -> None:
    distribution(tmp_path, "pytest", "7.0")
    distribution(tmp_path, "Pytest_XDist", "3.8")
    wanted = ["pytest>=8", "pytest-xdist>=3.5", "ninja"]
    assert packages.missing(wanted, [str(tmp_path)]) == ["pytest>=8", "ninja"]


def test_the_peers_are_wanted_without_what_they_need() -> None:
    assert {one.partition("=")[0] for one in packages.bare()} == {"trl", "torchtune"}
    together = packages.wanted((3, 12))
    assert packages.CORE in together
    assert packages.CORE not in packages.wanted((3, 11))
    assert not [one for one in together if re.match(r"torch\b|trl|torchtune", one)]


def test_a_wheel_that_is_not_in_the_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "missing", lambda requirements, path: ["pytest-of-nobody>=8"])
    why = packages.install(tmp_path / "site", tmp_path)
    assert re.match(r"the wheel of pytest-of-nobody>=8 is not in .*: type `make gpu-wheels WHEELS=folder` on", why)
    assert len(why.splitlines()) == 1


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with neither a toolkit nor anything on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    return tmp_path


@pytest.mark.parametrize("where", ["site/nvidia/cu13/compute-sanitizer", "toolkit/bin", "toolkit/compute-sanitizer"])
def test_the_sanitizer_is_found(nowhere: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = nowhere / where / "compute-sanitizer"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(nowhere / "toolkit"))
    assert sanitizer.find("13.0", [nowhere / "site"]) == program


def test_a_missing_sanitizer_is_a_failed_step_with_its_cure(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanitizer, "find", lambda cuda, folders: None)
    found = [step for step in steps(place(nowhere), A_MACHINE) if step.name.startswith("compute-sanitizer")]
    assert [step.name for step in found] == ["compute-sanitizer memcheck", "compute-sanitizer racecheck"]
    for step in found:
        assert "type `pip install 'cuda-toolkit[sanitizer]==13.0.*'` or set CUDA_HOME." in step.missing


def test_programs_and_a_toolkit_that_came_as_wheels_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_HOME", raising=False)
    assert "CUDA_HOME" not in place(tmp_path).env
    nvcc = tmp_path / "site" / "nvidia" / "cu13" / "bin" / "nvcc"
    nvcc.parent.mkdir(parents=True)
    nvcc.touch()
    env = place(tmp_path).env
    assert env["CUDA_HOME"] == str(nvcc.parents[1])
    assert env["PATH"].startswith(str(tmp_path / "site" / "bin") + os.pathsep + str(Path(sys.executable).parent))
    assert env["PYTHONPATH"].startswith(str(tmp_path / "site") + os.pathsep + str(ROOT))
    monkeypatch.setenv("CUDA_HOME", "/of/the/user")
    assert "CUDA_HOME" not in place(tmp_path).env  # what the user says stands


def test_a_run_has_every_workload_every_arm_and_every_tool(tmp_path: Path) -> None:
    from pamiq_storm.bench.offload.arms import KINDS
    from pamiq_storm.bench.offload.workloads import FULL

    assert set(WORKLOADS) == set(FULL)
    assert {"none", *EAGER, *COMPILED} == set(KINDS)
    names = [step.name for step in steps(place(tmp_path), A_MACHINE)]
    for name in ("build", "suite", "compute-sanitizer memcheck", "compute-sanitizer racecheck", "calibrate", "demo"):
        assert name in names
    assert {"hooks", "kernels", "publish", "predict", "suite on the simulator"} <= set(names)
    assert {f"offload {name}{kind}" for name in FULL for kind in ("", ", compiled")} <= set(names)
    assert len(names) == len(set(names))


def test_the_dry_run_has_the_same_steps_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    dry = steps(place(tmp_path, dry=True), A_MACHINE)
    names = {step.name for step in steps(place(tmp_path), A_MACHINE)}
    left_out = {step.name: step.left_out for step in dry if step.left_out}
    assert left_out.keys() == {"compute-sanitizer memcheck", "compute-sanitizer racecheck", "offload, compiled"}
    assert all("double" in reason for reason in left_out.values())
    assert {step.name for step in dry} - left_out.keys() <= names
    for step in dry:
        on_device = "--device" in step.command and "cuda" in step.command
        assert not on_device or "tests.cuda_double" in step.command, step.name
        assert not any("docs" in str(path) for path in step.writes)


def test_what_a_full_run_expects_first_fits_into_its_time(tmp_path: Path) -> None:
    """All but the compiled arms and the largest workload."""
    rest = ("compiled", "W2:32768")
    expected = [step.expected_s for step in steps(place(tmp_path), A_MACHINE) if not step.name.endswith(rest)]
    assert sum(expected) <= 25 * 60
