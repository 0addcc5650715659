"""`python -m pamiq_storm info`, and the import of a package whose compiled part does not load."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import pamiq_storm
from pamiq_storm import _C, info

BUILT = {"torch": "2.13.0", "toolkit": "CUDA 13.0", "architectures": [800, 860, 1200]}
Set = Callable[..., None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Set:
    """Pretends that a machine has these parts of what a GPU needs."""

    def set_(*, torch_cuda: bool, built: bool, driver: bool, gpu: bool) -> None:
        def load(name: str) -> None:
            if not driver:
                raise OSError(name)

        monkeypatch.setattr(torch.version, "cuda", "13.0" if torch_cuda else None)
        monkeypatch.setattr(_C, "build_info", lambda: BUILT if built else {**BUILT, "toolkit": "", "architectures": []})
        monkeypatch.setattr(ctypes, "CDLL", load)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: int(gpu))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _index: "A GPU")

    return set_


def test_this_build_tells_the_torch_it_was_compiled_with() -> None:
    assert info.report()["built"].startswith(f"against torch {torch.__version__.split('+')[0]}")


def test_a_complete_machine_misses_nothing(machine: Set) -> None:
    machine(torch_cuda=True, built=True, driver=True, gpu=True)
    report = info.report()
    assert report["built"] == "against torch 2.13.0, with CUDA 13.0 for 8.0 8.6 12.0"
    assert report["devices"] == "cuda:0 A GPU"
    assert "missing" not in report


@pytest.mark.parametrize(
    ("torch_cuda", "built", "driver", "says"),
    [
        (False, False, False, "install a CUDA build of torch"),
        (True, False, True, "STORM_CUDA=1"),
        (True, True, False, "no libcuda.so.1"),
        (True, True, True, "nvidia-smi"),
    ],
)
def test_what_is_missing_is_named_with_its_cure(
    machine: Set, torch_cuda: bool, built: bool, driver: bool, says: str
) -> None:
    machine(torch_cuda=torch_cuda, built=built, driver=driver, gpu=False)
    assert says in info.report()["missing"]
    assert info.report()["devices"] == "none: use the simulator"


@pytest.mark.parametrize(
    ("compiled", "says", "cure"),
    [
        (True, f"does not load with torch {torch.__version__}", "--force-reinstall ."),
        (False, "are not compiled", "-e ."),
    ],
)
def test_a_package_that_does_not_load_says_what_to_type(tmp_path: Path, compiled: bool, says: str, cure: str) -> None:
    folder = Path(pamiq_storm.__file__).parent
    copy = shutil.copytree(folder, tmp_path / "pamiq_storm", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for library in folder.glob("_C.*.so") if compiled else []:
        (copy / library.name).write_bytes(b"of another torch")
    # Without site: an editable install finds what the copy lacks.
    path = os.pathsep.join([str(tmp_path), str(Path(torch.__file__).parent.parent)])
    command = [sys.executable, "-S", "-c", "import pamiq_storm"]
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode != 0
    assert says in done.stderr
    assert f"`pip install --no-build-isolation {'--no-deps ' * compiled}{cure}`" in done.stderr
