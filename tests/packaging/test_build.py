"""The build refuses in one sentence, and chooses its CUDA parts for reasons it can name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import build_support  # noqa: E402
from build_support import Toolkit, Torch, plan_cuda  # noqa: E402

CPU_TORCH = Torch("2.13.0+cpu", None)
CUDA_TORCH = Torch("2.13.0+cu130", "13.0")


def run_setup(*python_flags: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python_flags, "setup.py", "--version"]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)


def assert_one_sentence(text: str) -> None:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert lines[0].endswith(".")


def pretend_folder(path: Path, headers: list[str]) -> Path:
    for header in headers:
        (path / "include" / header).parent.mkdir(parents=True, exist_ok=True)
        (path / "include" / header).touch()
    return path


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toolkit:
    """A machine whose only toolkit is a complete CUDA 13.0, and whose pip packages hold nothing."""
    found = Toolkit(pretend_folder(tmp_path / "toolkit", build_support.CUDA_HEADERS), "13.0")
    monkeypatch.setattr(build_support, "find_toolkits", lambda _cuda: [found])
    monkeypatch.setattr(build_support, "pip_cuda_folder", lambda _cuda: tmp_path / "pip")
    return found


def test_a_build_without_torch_says_what_to_type():
    result = run_setup("-I", "-S")  # no site-packages, hence no torch
    assert result.returncode != 0
    assert_one_sentence(result.stderr)
    assert "pip install torch==" in result.stderr
    assert "pip install --no-build-isolation ." in result.stderr


def test_an_old_torch_is_refused_by_its_version(tmp_path: Path):
    (tmp_path / "torch.py").write_text("__version__ = '2.9.1+cpu'\nclass version:\n  cuda = None\n")
    result = run_setup("-S", PYTHONPATH=str(tmp_path))
    assert result.returncode != 0
    assert_one_sentence(result.stderr)
    assert "2.9.1" in result.stderr


def test_an_unknown_choice_is_refused(tmp_path: Path):
    (tmp_path / "torch.py").write_text("__version__ = '2.13.0+cpu'\nclass version:\n  cuda = None\n")
    result = run_setup("-S", PYTHONPATH=str(tmp_path), STORM_CUDA="bogus")
    assert result.returncode != 0
    assert_one_sentence(result.stderr)
    assert "auto, 0 or 1" in result.stderr
    assert "bogus" in result.stderr


def test_asking_for_cuda_with_a_torch_that_has_none_is_refused(tmp_path: Path):
    (tmp_path / "torch.py").write_text("__version__ = '2.13.0+cpu'\nclass version:\n  cuda = None\n")
    result = run_setup("-S", PYTHONPATH=str(tmp_path), STORM_CUDA="1")
    assert result.returncode != 0
    assert_one_sentence(result.stderr)
    assert "build without CUDA" in result.stderr


def test_auto_goes_without_cuda_where_torch_has_none():
    plan = plan_cuda("auto", CPU_TORCH, needs_nvcc=True)
    assert not plan.enabled
    assert "build without CUDA" in plan.reason


def test_zero_goes_without_cuda_even_where_it_could(toolkit: Toolkit):
    assert not plan_cuda("0", CUDA_TORCH, needs_nvcc=True).enabled


def test_auto_takes_cuda_and_names_the_toolkit(toolkit: Toolkit):
    plan = plan_cuda("auto", CUDA_TORCH, needs_nvcc=True)
    assert plan.enabled
    assert str(toolkit.home) in plan.reason
    assert plan.include_dirs == [str(toolkit.home / "include")]


def test_a_missing_nvcc_is_named_with_its_cure(toolkit: Toolkit, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build_support, "find_toolkits", lambda _cuda: [])
    with pytest.raises(SystemExit, match=r"no nvcc: type `pip install 'cuda-toolkit\[nvcc"):
        plan_cuda("1", CUDA_TORCH, needs_nvcc=True)


def test_a_toolkit_of_another_major_version_is_refused(toolkit: Toolkit, monkeypatch: pytest.MonkeyPatch):
    old = Toolkit(toolkit.home, "12.4")
    monkeypatch.setattr(build_support, "find_toolkits", lambda _cuda: [old])
    with pytest.raises(SystemExit, match=r"CUDA 12\.4 in .*CUDA 13 toolkit"):
        plan_cuda("1", CUDA_TORCH, needs_nvcc=True)


def test_a_header_that_is_nowhere_is_named(toolkit: Toolkit):
    (toolkit.home / "include" / "cusparse.h").unlink()
    with pytest.raises(SystemExit, match=r"header cusparse\.h"):
        plan_cuda("1", CUDA_TORCH, needs_nvcc=True)


def test_headers_from_pip_fill_what_the_toolkit_lacks(toolkit: Toolkit, tmp_path: Path):
    (toolkit.home / "include" / "cusparse.h").unlink()
    pretend_folder(tmp_path / "pip", ["cusparse.h"])
    assert plan_cuda("1", CUDA_TORCH, needs_nvcc=True).enabled


def test_sources_without_kernels_need_no_nvcc(toolkit: Toolkit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build_support, "find_toolkits", lambda _cuda: [])
    pretend_folder(tmp_path / "pip", build_support.CUDA_HEADERS)
    assert plan_cuda("1", CUDA_TORCH, needs_nvcc=False).enabled


def test_an_nvcc_that_is_a_wrapper_script_leads_to_its_toolkit(tmp_path: Path):
    wrapper = tmp_path / "nvcc"
    wrapper.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        '  --version) echo "Cuda compilation tools, release 13.0, V13.0.88";;\n'
        f'  *) echo "#\\$ TOP={tmp_path}/real/bin/.." >&2;;\n'
        "esac\n"
    )
    wrapper.chmod(0o755)
    (tmp_path / "real" / "bin").mkdir(parents=True)
    assert build_support.toolkit_of(wrapper) == Toolkit(tmp_path / "real", "13.0")


def test_no_more_compilers_run_than_there_are_cores():
    assert 1 <= build_support.compilers_that_fit() <= (os.cpu_count() or 1)


def test_as_many_compilers_as_memory_holds_need_no_advice():
    assert build_support.memory_advice(2, 2 * build_support.BYTES_PER_COMPILER) is None


@pytest.mark.parametrize(("free", "cure"), [(5 << 30, "MAX_JOBS=2"), (1 << 30, "STORM_UNITY=0")])
def test_too_little_memory_for_the_compilers_is_one_sentence_with_the_cure(free: int, cure: str):
    advice = build_support.memory_advice(8, free)
    assert advice is not None
    assert_one_sentence(advice)
    assert "16 GiB" in advice
    assert f"{free >> 30}.0 GiB are free" in advice
    assert cure in advice


def test_a_compiler_that_was_killed_for_memory_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    killed = iter([3, 4])
    monkeypatch.setattr(build_support, "killed_for_memory", lambda: next(killed))
    with pytest.raises(SystemExit) as raised, build_support.out_of_memory_in_one_sentence(4):
        raise RuntimeError("Error compiling objects for extension")
    assert_one_sentence(str(raised.value))
    assert "MAX_JOBS=2" in str(raised.value)


def test_a_compiler_that_failed_by_itself_keeps_its_own_error():
    with pytest.raises(RuntimeError, match="compiling"), build_support.out_of_memory_in_one_sentence(4):
        raise RuntimeError("Error compiling objects for extension")


def test_joined_sources_are_each_compiled_once(tmp_path: Path):
    names = [f"csrc/{folder}/{name}.cpp" for folder in ("a", "a/b") for name in "cdefghijklm"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "csrc/a/kernel.cu").touch()
    joined = build_support.join_sources(tmp_path, [*names, "csrc/a/kernel.cu"], tmp_path / "into", jobs=2)
    assert joined[0] == tmp_path / "csrc/a/kernel.cu"
    assert 4 <= len(joined) - 1 < len(names)
    lines = "".join(path.read_text() for path in joined[1:]).splitlines()
    assert sorted(lines) == sorted(f'#include "{name.removeprefix("csrc/")}"' for name in names)
    before = [path.stat().st_mtime_ns for path in joined]
    assert build_support.join_sources(tmp_path, [*names, "csrc/a/kernel.cu"], tmp_path / "into", jobs=2) == joined
    assert [path.stat().st_mtime_ns for path in joined] == before
