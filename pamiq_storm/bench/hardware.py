"""The accelerator a run measures: a CUDA device or the simulated one, behind one small interface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

MIB = 1 << 20


@dataclass(frozen=True)
class Link:
    """Rates of the two directions, bytes per second."""

    d2h: float
    h2d: float


@dataclass(frozen=True)
class Traffic:
    """Bytes that crossed the link."""

    d2h: int
    h2d: int


class Hardware(Protocol):
    """What the measuring code needs of a device beyond `torch.accelerator`."""

    device: torch.device
    simulated: bool
    profile: str

    @property
    def memory_bytes(self) -> int | None:
        """What the device has; None where that is a setting."""
        ...

    def limit_memory(self, limit_bytes: int | None) -> None:
        """Device memory this process may use; None lifts the limit."""
        ...

    def link(self) -> Link:
        """What the link can do with pinned memory."""
        ...

    def traffic(self) -> Traffic | None:
        """Bytes moved so far, or None where the device does not count them."""
        ...

    def peak_pinned_bytes(self) -> int:
        """Most page-locked host memory held since `reset_peaks`."""
        ...

    def reset_peaks(self) -> None:
        """Peaks of device and pinned memory fall to the present value."""
        ...


class CudaHardware:
    """A real device. The link is measured once, by copies of pinned memory."""

    simulated = False

    def __init__(self) -> None:
        self.device = torch.device("cuda", torch.cuda.current_device())
        self.profile = torch.cuda.get_device_name(self.device)
        self.memory_bytes = torch.cuda.get_device_properties(self.device).total_memory
        self._link: Link | None = None

    def limit_memory(self, limit_bytes: int | None) -> None:
        share = 1.0 if limit_bytes is None else min(1.0, limit_bytes / self.memory_bytes)
        torch.cuda.set_per_process_memory_fraction(share, self.device)

    def link(self) -> Link:
        if self._link is None:
            device = torch.empty(256 * MIB, dtype=torch.uint8, device=self.device)
            host = torch.empty_like(device, device="cpu", pin_memory=True)
            self._link = Link(copy_rate(device, host), copy_rate(host, device))
        return self._link

    def traffic(self) -> None:
        return None

    def peak_pinned_bytes(self) -> int:
        return int(torch.cuda.host_memory_stats()["allocated_bytes.peak"])

    def reset_peaks(self) -> None:
        torch.accelerator.reset_peak_memory_stats()
        torch.cuda.reset_peak_host_memory_stats()


class SimulatedHardware:
    """The simulated accelerator: kernels on one CPU core, a link of a set rate, a memory limit that holds."""

    simulated = True
    profile = "simulated, one CPU core"
    memory_bytes = None

    def __init__(self, link: Link) -> None:
        # Enabling it changes the whole process, so not before somebody asks.
        from pamiq_storm import sim

        self._sim = sim
        self._link = link
        sim.enable(memory=None, d2h=int(link.d2h), h2d=int(link.h2d))
        self.device = torch.device("sim", 0)

    def set_link(self, link: Link) -> None:
        """Gives the link other rates from now on."""
        self._link = link
        self._sim.configure(d2h=int(link.d2h), h2d=int(link.h2d))

    def limit_memory(self, limit_bytes: int | None) -> None:
        self._sim.configure(memory=limit_bytes)

    def link(self) -> Link:
        return self._link

    def traffic(self) -> Traffic:
        stats = self._sim.stats()
        return Traffic(stats.d2h_bytes, stats.h2d_bytes)

    def peak_pinned_bytes(self) -> int:
        return self._sim.stats().peak_pinned_bytes

    def reset_peaks(self) -> None:
        torch.accelerator.reset_peak_memory_stats()
        self._sim.reset_stats()


def choose(device: str, link: Link) -> Hardware:
    """`auto` takes CUDA if there is a device, else the simulator with `link`.

    Raises:
        RuntimeError: the device asked for is not there.
    """
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        if not torch.cuda.is_available():
            raise RuntimeError("no CUDA device is usable here; use --device sim or --device auto")
        return CudaHardware()
    if device not in ("auto", "sim"):
        raise RuntimeError(f"device {device!r} is unknown; use auto, cuda or sim")
    return SimulatedHardware(link)


def copy_rate(source: torch.Tensor, target: torch.Tensor, repeats: int = 5) -> float:
    """Bytes per second of repeated asynchronous copies, by device events."""
    target.copy_(source, non_blocking=True)
    begin, end = torch.Event(enable_timing=True), torch.Event(enable_timing=True)
    begin.record()
    for _ in range(repeats):
        target.copy_(source, non_blocking=True)
    end.record()
    torch.accelerator.synchronize()
    return repeats * source.nbytes / (begin.elapsed_time(end) / 1e3)
