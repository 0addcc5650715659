"""The engine and its life in this process: made on demand, shared by equal configurations, gone at exit."""

from __future__ import annotations

import atexit
import os
import threading

import torch

from . import _C
from .config import OffloadConfig
from .stats import OffloadStats

__all__ = ["StormSystem", "fetch_activation_from_cpu", "offload_activation_to_cpu", "shared_system"]


class StormSystem:
    """One device's engine: two transfer streams, host memory, counters.

    ``offload`` shares one among equal configurations; make one by hand to move activations yourself.

    Args:
        device: An accelerator.
        config: Its bounds.

    Raises:
        ValueError: The device is not an accelerator, or the configuration cannot hold.
    """

    def __init__(self, device: torch.device | str, config: OffloadConfig | None = None) -> None:
        self._device = accelerator(device)
        self._config = config or OffloadConfig()
        self._engine = _C.StormSystem(self._device, self._config.resolve(self._device))

    @property
    def device(self) -> torch.device:
        return self._device

    @property
    def config(self) -> OffloadConfig:
        return self._config

    @property
    def streams(self) -> tuple[torch.Stream, torch.Stream]:
        """The D2H and the H2D stream."""
        return self._engine.d2h_stream, self._engine.h2d_stream

    @property
    def closed(self) -> bool:
        return self._engine.closed

    def stats(self) -> OffloadStats:
        """Figures since the engine was made. Does not synchronise."""
        return OffloadStats(**self._engine.stats())

    def reset_peaks(self) -> None:
        """Peaks count from now."""
        self._engine.reset_peaks()

    def trim(self) -> None:
        """Give host memory that nothing uses back to the system, or to torch. May wait for the device, to unpin it."""
        self._engine.trim()

    def close(self) -> None:
        """Save no more. Tensors saved before can still be fetched."""
        _forget(self)
        self._engine.close()


def accelerator(device: torch.device | str) -> torch.device:
    """``device`` with an index.

    Raises:
        ValueError: It is not an accelerator.
    """
    device = torch.device(device)
    if device.type in ("cpu", "meta"):
        raise ValueError(
            f"offloading moves tensors off an accelerator, and the device is {device}: move the model to an "
            'accelerator, or call pamiq_storm.sim.enable() and use device "sim"'
        )
    if device.index is None:
        device = torch.device(device.type, torch.accelerator.current_device_index())
    return device


_lock = threading.Lock()  # guards _systems
_systems: dict[tuple[torch.device, OffloadConfig], StormSystem] = {}


def shared_system(device: torch.device, config: OffloadConfig) -> StormSystem:
    """The engine of ``device`` with this configuration; the same one for the same question."""
    key = (device, config)
    with _lock:
        found = _systems.get(key)
    if found is not None:
        return found
    made = StormSystem(device, config)  # asks the device: not under the lock
    with _lock:
        return _systems.setdefault(key, made)


def _forget(system: StormSystem) -> None:
    with _lock:
        for key in [key for key, other in _systems.items() if other is system]:
            del _systems[key]


def offload_activation_to_cpu(activation: torch.Tensor, layer_id: int, system: StormSystem) -> _C.OffloadedActivation:
    """Start moving an activation to host memory; the returned handle is the key to it.

    Args:
        activation: Any strided tensor on the system's device, of any shape, dtype and strides.
        layer_id: A label; several activations may carry the same.
        system: Moves it. The tensor may be dropped or reused at once.

    Raises:
        ValueError: The tensor is on another device or is no plain strided tensor.
        RuntimeError: ``host_bytes`` has no room, or the system is closed.
    """
    return _C.offload_activation_to_cpu(activation, layer_id, system._engine)


def fetch_activation_from_cpu(activation: _C.OffloadedActivation) -> torch.Tensor:
    """The activation on its device again, bit for bit, ready for the current stream. May be called again.

    Raises:
        RuntimeError: The original was changed in place after it was offloaded.
    """
    return _C.fetch_activation_from_cpu(activation)


@atexit.register
def _shut_down() -> None:
    _C.set_process_exiting()  # first: devices may be gone already, so nothing below may wait for one
    with _lock:
        _systems.clear()
    _C.release_default_contexts()


def _in_forked_child() -> None:
    """Other threads stayed with the parent, and the locks they held with them: none of those is asked for again."""
    global _lock
    _lock = threading.Lock()
    _C.after_fork_in_child()
    atexit.unregister(_shut_down)
    atexit.register(_C.set_process_exiting)


os.register_at_fork(after_in_child=_in_forked_child)
