"""Where compute-sanitizer is: on PATH, in a toolkit, or among pip's packages."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Sequence
from pathlib import Path

NAME = "compute-sanitizer"


def find(cuda: str, folders: Sequence[Path]) -> Path | None:
    """The program for this CUDA, such as "13.0". `folders` are looked through like Python's own site-packages."""
    if on_path := shutil.which(NAME):
        return Path(on_path)
    homes = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    homes.append(Path("/usr/local/cuda"))
    homes += [f / "nvidia" / f"cu{cuda.split('.')[0]}" for f in (*folders, Path(sysconfig.get_paths()["purelib"]))]
    places = [home / folder / NAME for home in homes for folder in (NAME, "bin")]
    return next((place for place in places if os.access(place, os.X_OK) and place.is_file()), None)


def cure(cuda: str) -> str:
    """What to do where it is nowhere."""
    wanted = f"cuda-toolkit[sanitizer]=={cuda}.*"
    return f"{NAME} is neither on PATH nor in a toolkit: type `pip install '{wanted}'` or set CUDA_HOME."
