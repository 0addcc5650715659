"""How calibrate takes time: on the device by events, on the host by the clock that the device's calls run by."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

Operation = Callable[[], object]
Sized = Callable[[int], tuple[Operation, float]]
"""Makes an operation of some size, and says how much work it is: FLOPs or bytes."""

LONG_ENOUGH_S = 4e-3
"""An operation that takes this long hides what starting it costs."""

FILLER_S = 3e-4
MOST_FILLERS = 256
"""What keeps a device busy while the host issues: each much longer than issuing it takes."""


def clock() -> Callable[[], int]:
    """Nanoseconds of the host: virtual ones where the simulator's clock is virtual."""
    from pamiq_storm import sim

    return sim.now_ns if sim.is_enabled() else time.perf_counter_ns


class Meter:
    """Takes times on one device; the same calls serve any backend."""

    def __init__(self, device: torch.device, repeats: int = 5) -> None:
        self.device = device
        self.repeats = repeats
        self._now = clock()
        self._filler = self._made_filler()
        self._fillers = 4

    def host_s(self, operation: Operation, calls: int = 1) -> float:
        """Host seconds of one call, while the device is idle before and not waited for after."""
        torch.accelerator.synchronize(self.device)
        begin = self._now()
        for _ in range(calls):
            operation()
        return (self._now() - begin) * 1e-9 / calls

    def median_host_s(self, operation: Operation, calls: int = 1) -> float:
        """The median of several such times, after one that does not count."""
        operation()
        return statistics.median(self.host_s(operation, calls) for _ in range(self.repeats))

    def device_s(self, operation: Operation) -> float:
        """Device seconds of one long operation: the median, after one that does not count."""
        operation()
        return statistics.median(self._between_events(operation, 1) for _ in range(self.repeats))

    def queued_s(self, operation: Operation, calls: int) -> float:
        """Device seconds of one short operation: `calls` of them queue behind other work, not to wait for the host."""
        operation()
        times: list[float] = []
        while len(times) < self.repeats:
            for _ in range(self._fillers):
                self._filler()
            begin, end = self._event(), self._event()
            begin.record()
            for _ in range(calls):
                operation()
            end.record()
            late = begin.query()  # the device got here before the host had issued all: it had to wait
            torch.accelerator.synchronize(self.device)
            if late and self._fillers < MOST_FILLERS:
                self._fillers *= 2
            else:
                times.append(begin.elapsed_time(end) * 1e-3 / calls)
        return statistics.median(times)

    def rate(self, sized: Sized, smallest: int, largest: int) -> float:
        """Work per second of the first size, doubled from `smallest`, that takes long enough."""
        size = smallest
        while True:
            operation, work = sized(size)
            seconds = self.device_s(operation)
            if seconds >= LONG_ENOUGH_S or 2 * size > largest:
                return work / seconds
            size *= 2

    def _made_filler(self) -> Operation:
        size = 256
        while True:
            square = torch.ones(size, size, device=self.device)
            filler: Operation = lambda square=square: torch.mm(square, square)  # noqa: E731
            if self.device_s(filler) >= FILLER_S or size >= 8192:
                return filler
            size *= 2

    def _between_events(self, operation: Operation, calls: int) -> float:
        torch.accelerator.synchronize(self.device)
        begin, end = self._event(), self._event()
        begin.record()
        for _ in range(calls):
            operation()
        end.record()
        torch.accelerator.synchronize(self.device)
        return begin.elapsed_time(end) * 1e-3 / calls

    def _event(self) -> torch.Event:
        return torch.Event(self.device, enable_timing=True)
