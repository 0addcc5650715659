"""What was built, what is here, and what is missing."""

from __future__ import annotations

import ctypes
import platform

import torch

import pamiq_storm

from . import _C


def report() -> dict[str, str]:
    """One line of text for each name, in the order of reading; starts no device but CUDA's."""
    lines = {
        "pamiq_storm": pamiq_storm.__version__,
        "torch": torch.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "built": _built(),
        "devices": ", ".join(_devices()) or "none: use the simulator",
        "simulator": _simulator(),
    }
    if missing := _missing():
        lines["missing"] = missing
    return lines


def _built() -> str:
    build = _C.build_info()
    if not build["toolkit"]:
        return f"against torch {build['torch']}, without CUDA"
    capabilities = " ".join(f"{number // 100}.{number // 10 % 10}" for number in build["architectures"])
    return f"against torch {build['torch']}, with {build['toolkit']} for {capabilities}"


def _devices() -> list[str]:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return [f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(count)]


def _missing() -> str:
    """The first thing that keeps CUDA from being used, with its cure; empty if nothing does."""
    if torch.version.cuda is None:
        return "CUDA: this torch is a build without it; install a CUDA build of torch, then pamiq_storm again"
    if not _C.build_info()["toolkit"]:
        return "pamiq_storm's CUDA parts: build it again with STORM_CUDA=1, which says what it lacks"
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "the NVIDIA driver: there is no libcuda.so.1, so nothing can run on CUDA here"
    if not torch.cuda.is_available():
        return "a GPU: the driver shows none (look at `nvidia-smi` and CUDA_VISIBLE_DEVICES)"
    return ""


def _simulator() -> str:
    try:
        from . import _sim  # noqa: F401
    except ImportError as error:
        return f"not built ({error})"
    return "built; pamiq_storm.sim.enable() turns it on"
