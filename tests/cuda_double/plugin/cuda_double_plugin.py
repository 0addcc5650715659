"""Brings the double's machine into a process, when torch has loaded: torch calls `load` by an entry point."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from ctypes import CDLL
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "cuda_double_machine"


def _load_machine(folder: Path) -> ModuleType:
    path = str(folder / f"{NAME}.so")
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[NAME] = module
    return module


class _AfterPamiqStorm(importlib.abc.MetaPathFinder):
    """The operations that pamiq_storm brings get CPU kernels too, as soon as it has brought them."""

    def __init__(self, override: Any) -> None:
        self._override = override

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != "pamiq_storm._C":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return spec
        loader, execute = spec.loader, spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._override()

        loader.exec_module = exec_module  # pyright: ignore[reportAttributeAccessIssue]
        return spec


def load() -> None:
    """Start the machine with the settings the launcher left in the environment."""
    import torch

    folder = os.environ.get("CUDA_DOUBLE")
    if folder is None or torch.version.cuda is None:
        return
    machine = _load_machine(Path(folder))
    config = machine.Config()
    config.memory_bytes = int(os.environ["CUDA_DOUBLE_MEMORY"])
    config.devices = int(os.environ["CUDA_DOUBLE_DEVICES"])
    config.d2h_bytes_per_s = float(os.environ["CUDA_DOUBLE_D2H"])
    config.h2d_bytes_per_s = float(os.environ["CUDA_DOUBLE_H2D"])
    config.races = os.environ["CUDA_DOUBLE_RACES"] == "1"
    machine.enable(config)
    torch._C._set_cudnn_enabled(False)  # cuDNN comes with a runtime of its own
    library = CDLL(str(Path(folder) / f"{NAME}.so"))
    sys.meta_path.insert(0, _AfterPamiqStorm(library.cuda_double_override_operations))
