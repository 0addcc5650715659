"""What the machine is, asked in a process of its own: this one must not hold memory of the device."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROBE = """
import json, sys
try:
    import torch
except ModuleNotFoundError:
    print(json.dumps({})); sys.exit()
found = {"torch": torch.__version__, "cuda": torch.version.cuda or "", "gpu": "", "memory": 0, "capability": ""}
if torch.version.cuda and torch.cuda.is_available():
    of = torch.cuda.get_device_properties(0)
    found |= {"gpu": of.name, "memory": of.total_memory, "capability": f"{of.major}.{of.minor}"}
print(json.dumps(found))
"""

PYTHON_OF_TORCH = "type `make gpu PYTHON=/path/to/python` with a Python that has a CUDA build of torch 2.13 or newer"


class Unsuitable(RuntimeError):  # noqa: N818  (said to people, not raised through code)
    """This machine cannot do it; the message says what to do, in one sentence."""


@dataclass(frozen=True)
class Machine:
    """What results are told with."""

    torch: str
    cuda: str
    gpu: str
    """The device's name; empty without one."""
    memory: int
    capability: str
    driver: str
    python: str
    processor: str
    cores: int


def look(prefix: Sequence[str], env: Mapping[str, str], root: Path) -> Machine:
    """Asks torch, behind `prefix` if there is one.

    Raises:
        Unsuitable: there is no torch, no CUDA in it, or no device.
    """
    command = [*prefix, sys.executable, "-c", PROBE]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, cwd=root)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise Unsuitable(f"torch cannot be asked for the device in {sys.executable}: {last}.")
    found = json.loads(done.stdout.splitlines()[-1])
    if not found:
        raise Unsuitable(f"{sys.executable} has no torch: {PYTHON_OF_TORCH}.")
    if not found["cuda"]:
        raise Unsuitable(f"torch {found['torch']} of {sys.executable} is a build without CUDA: {PYTHON_OF_TORCH}.")
    if not found["gpu"]:
        raise Unsuitable("torch sees no CUDA device here: take a machine with an NVIDIA GPU, or type `make gpu DRY=1`.")
    return Machine(
        **found,
        driver=_driver(),
        python=platform.python_version(),
        processor=_processor(),
        cores=os.cpu_count() or 1,
    )


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.split("\n")[0].strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
