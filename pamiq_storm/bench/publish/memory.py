"""Copies of the parameters in memory, measured: the process's own pages on the CPU, torch's count on a device."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from pamiq_storm.bench.publish.arms import COPIES, ForeachCopy, LiveModel, LoadStateDict
from pamiq_storm.bench.publish.networks import Size, Tower, parameter_bytes
from pamiq_storm.bench.publish.rounds import row
from pamiq_storm.bench.publish.setting import Advance, Part, Setting
from pamiq_storm.results import PublishRow

AT_REST = "copies at rest"
HELD = "copies at most, a reader keeps an old version through three syncs"
AFTER = "copies at rest, after the reader has left"
SYNCS = 3

SIZE = Size(1e7, 2)
"""One weight of 40 MB: the C library gives blocks of more than 32 MB back to the system at once."""
DEVICE_SIZE = Size(1e6, 4)


Measured = LiveModel | LoadStateDict | ForeachCopy
Make = Callable[[nn.Module], Measured]


class Memory(Protocol):
    """Bytes in use, and the most since `reset_peak`."""

    def now(self) -> int: ...

    def reset_peak(self) -> None: ...

    def peak(self) -> int: ...


class ProcessMemory:
    """Pages of this process. What the C library keeps for later is given back first."""

    def __init__(self) -> None:
        self._trim = ctypes.CDLL(None).malloc_trim

    def now(self) -> int:
        self._trim(0)
        return _status("VmRSS")

    def reset_peak(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")

    def peak(self) -> int:
        return _status("VmHWM")


class DeviceMemory:
    """What torch's allocator has given out."""

    def now(self) -> int:
        torch.accelerator.synchronize()
        return torch.accelerator.memory_allocated()

    def reset_peak(self) -> None:
        torch.accelerator.reset_peak_memory_stats()

    def peak(self) -> int:
        torch.accelerator.synchronize()
        return torch.accelerator.max_memory_allocated()


def steps(setting: Setting) -> int:
    """Calls of `advance`."""
    return len(setting.arms) + len(COPIES)


def measure(setting: Setting, advance: Advance) -> Part:
    """Each arm alone: how many times its parameters lie in memory."""
    rows: list[PublishRow] = []
    facts: dict[str, dict[str, float]] = {}
    memory, size = (ProcessMemory(), SIZE) if setting.device.type == "cpu" else (DeviceMemory(), DEVICE_SIZE)
    with torch.device("meta"):
        shape = Tower(size)
    makers: dict[str, Make] = {**setting.publishers(), **COPIES}
    for name, make in makers.items():
        make(Tower(Size(1e3, 4)).to(setting.device)).sync()  # code that is read from its file is no copy
        facts[name] = _copies(setting, make, size, memory)
        rows += [row(name, setting.case(case), shape, copies=copies) for case, copies in facts[name].items()]
        advance()
    return Part(rows, {"copies": facts})


def _copies(setting: Setting, make: Make, size: Size, memory: Memory) -> dict[str, float]:
    gc.collect()
    before = memory.now()
    model = Tower(size).to(setting.device)
    one = parameter_bytes(model)
    return {case: (found - before) / one for case, found in _bytes(make(model), memory).items()}


def _bytes(publisher: Measured, memory: Memory) -> dict[str, int]:
    found = {AT_REST: [_at_rest(publisher, memory) for _ in range(SYNCS)][-1]}
    if isinstance(publisher, LoadStateDict | ForeachCopy):
        return found
    memory.reset_peak()
    with publisher.inference_model.unwrap():
        for _ in range(SYNCS):
            publisher.sync()
        found[HELD] = memory.peak()
    found[AFTER] = _at_rest(publisher, memory)
    return found


def _at_rest(publisher: Measured, memory: Memory) -> int:
    """After a sync that the device has done, and an inference that has taken up the new version."""
    publisher.sync()
    memory.now()
    if not isinstance(publisher, LoadStateDict | ForeachCopy):
        with publisher.inference_model.unwrap():
            pass
    return memory.now()


def _status(key: str) -> int:
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) << 10
