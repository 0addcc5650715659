"""Copies to the host and back beside compute, as the published methods arrange them.

One machine with a few switches stands for all of them: how long the source of a copy is kept, who waits for whom, how
far ahead copies back are asked for, and whether host buffers are kept from step to step.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Manner:
    """The switches."""

    in_flight: int
    """Sources that may be held until their copy is over; of more, the oldest is waited for and let go."""
    host_waits: bool = False
    """Who waits then: the host for the copy's end, or the compute stream."""
    ahead: int = 0
    """When one is fetched, so many of those needed next are asked for as well."""
    after_compute: bool = False
    """Copies back start after the compute issued before them; else as soon as the host asks."""


@dataclass
class _Moved:
    host: Tensor
    size: torch.Size
    stride: tuple[int, ...]
    back: Tensor | None = None
    arrived: torch.Event | None = None


class Mover:
    """Moves tensors by key, 0, 1, 2 ... in the order of forward; backward asks for them in reverse."""

    def __init__(self, manner: Manner, device: torch.device, pooled: bool = True) -> None:
        self._manner = manner
        self._device = device
        self._pooled = pooled
        self._stream = torch.Stream(device)
        self._moved: dict[int, _Moved] = {}
        self._next = 0
        self._held: deque[tuple[Tensor, torch.Event]] = deque()
        self._pool: dict[tuple[int, torch.dtype], list[Tensor]] = {}

    def out(self, tensor: Tensor) -> int:
        """Starts the copy to the host and gives the key."""
        compute = torch.accelerator.current_stream(self._device)
        while len(self._held) > self._manner.in_flight:
            self._let_go(compute, self._manner.host_waits)
        self._stream.wait_stream(compute)
        host = self._buffer(tensor)
        with self._stream:
            host.copy_(_flat(tensor), non_blocking=True)
        self._held.append((tensor, self._stream.record_event()))
        key, self._next = self._next, self._next + 1
        self._moved[key] = _Moved(host, tensor.size(), tensor.stride())
        return key

    def begin(self) -> None:
        """A step begins on an idle device: what a step that failed has left is dropped."""
        self._held.clear()
        self._moved.clear()
        self._next = 0

    def back(self, key: int) -> Tensor:
        """The tensor again, on the device; compute waits for it."""
        compute = torch.accelerator.current_stream(self._device)
        while self._held:  # backward has begun: what is still held is let go behind its copy
            self._let_go(compute, host_waits=False)
        for wanted in range(key, max(key - self._manner.ahead, 0) - 1, -1):
            if wanted in self._moved and self._moved[wanted].back is None:
                self._fetch(self._moved[wanted])
        moved = self._moved.pop(key)
        assert moved.back is not None
        assert moved.arrived is not None
        compute.wait_event(moved.arrived)
        moved.back.record_stream(compute)
        if self._pooled:
            self._pool.setdefault((moved.host.numel(), moved.host.dtype), []).append(moved.host)
        return moved.back.as_strided(moved.size, moved.stride)

    def _let_go(self, compute: torch.Stream, host_waits: bool) -> None:
        source, event = self._held.popleft()
        if host_waits:
            event.synchronize()
        else:
            compute.wait_event(event)
        del source  # not before: its memory is free for whatever compute does next

    def _fetch(self, moved: _Moved) -> None:
        if self._manner.after_compute:
            self._stream.wait_stream(torch.accelerator.current_stream(self._device))
        with self._stream:
            moved.back = moved.host.to(self._device, non_blocking=True)
        moved.arrived = self._stream.record_event()

    def _buffer(self, tensor: Tensor) -> Tensor:
        elements = _flat(tensor).numel()
        free = self._pool.get((elements, tensor.dtype))
        # Reused in the next step only: `back` puts it there while its copy may be under way, and a step ends idle.
        return free.pop() if free else torch.empty(elements, dtype=tensor.dtype, pin_memory=True)


def _flat(tensor: Tensor) -> Tensor:
    """All elements in the order of memory."""
    assert tensor.numel() == tensor.untyped_storage().nbytes() // tensor.element_size(), "part of a larger tensor"
    return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())
