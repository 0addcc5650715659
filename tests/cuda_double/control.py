"""The double as a test sees it, inside a process that runs under it.

Its machine is the simulator's, under CUDA's calls; so `pamiq_storm.sim` controls it: after `adopt`, `sim.hold`,
`sim.inject`, `sim.configure`, `sim.races` and the others speak of it.
"""

from __future__ import annotations

import os
import sys
from ctypes import CDLL, c_char_p, c_size_t, c_void_p
from pathlib import Path

import torch

from pamiq_storm import sim
from pamiq_storm.sim import enabling, native
from pamiq_storm.sim.detector import Race, watch
from pamiq_storm.sim.settings import Settings


def is_active() -> bool:
    """Return whether CUDA is the double in this process."""
    return "cuda_double_machine" in sys.modules


def adopt() -> None:
    """Let `pamiq_storm.sim` control the double. Does nothing the second time, or without the double."""
    if not is_active() or sim.is_enabled():
        return
    machine = sys.modules["cuda_double_machine"]
    native.keep(machine)
    config = machine.current_config()
    settings = Settings(
        memory=config.memory_bytes or None,
        d2h=config.d2h_bytes_per_s or None,
        h2d=config.h2d_bytes_per_s or None,
        devices=config.devices,
        races=config.races,
    )
    enabling._keep_settings(settings)
    watch.follow(machine, config.races)


def hazards() -> list[Race]:
    """Return the hazards found since the last `clear_hazards`."""
    adopt()
    return sim.races()


def clear_hazards() -> None:
    adopt()
    sim.clear_races()


def calls(function: str) -> int:
    """Return how often a function of the runtime was called so far, such as ``cudaMemcpyAsync``."""
    library = CDLL(str(Path(folder()) / "libcuda_double.so"))
    library.cuda_double_calls.argtypes = [c_char_p]
    library.cuda_double_calls.restype = c_size_t
    return library.cuda_double_calls(function.encode())


def folder() -> str:
    """Return where the double was built."""
    return os.environ["CUDA_DOUBLE"]


def environment(**settings: int) -> dict[str, str]:
    """Return the environment of a child process whose double differs in some of the launcher's settings."""
    changed = {f"CUDA_DOUBLE_{name.upper()}": str(value) for name, value in settings.items()}
    return {**os.environ, **changed}


def copy_to_host(address: int, source: torch.Tensor, stream: torch.cuda.Stream, count: int | None = None) -> None:
    """Call cudaMemcpyAsync as an extension does, past torch, which then knows nothing of the copy.

    Raises:
        RuntimeError: the runtime refused.
    """
    library = CDLL(str(Path(folder()) / "libcuda_double.so"))
    library.cudaGetErrorString.restype = c_char_p
    size = source.nbytes if count is None else count
    error = library.cudaMemcpyAsync(
        c_void_p(address), c_void_p(source.data_ptr()), c_size_t(size), 4, c_void_p(stream.cuda_stream)
    )
    if error != 0:
        raise RuntimeError(library.cudaGetErrorString(error).decode())
