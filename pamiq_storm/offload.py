"""``with offload(model): loss = model(x)``: what autograd saves leaves the device and is back in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType

import torch
from torch import nn

from . import _C
from ._engine import StormSystem, accelerator, shared_system
from .config import OffloadConfig
from .stats import OffloadStats

__all__ = ["offload"]

_autograd = torch._C._autograd  # pyright: ignore[reportAttributeAccessIssue]


class offload:  # noqa: N801  (read as a verb, like torch.no_grad)
    """Offload what autograd saves while the context is active. Reusable, re-entrant, usable from several threads.

    Make it once and enter it around each forward; backward may run inside or outside. Gradients are the same, bit
    for bit, as without it. Making it anew for each step is also fine: equal configurations share one engine.

    Args:
        model: Its parameters and buffers stay on the device. Without a model, leaves that require grad stay.
        config: Bounds; see ``OffloadConfig``.
        device: The accelerator; default: the model's.

    Raises:
        ValueError: The model lies on the CPU or on several devices, or the configuration cannot hold.
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        config: OffloadConfig | None = None,
        *,
        device: torch.device | str | None = None,
    ) -> None:
        if model is not None and not isinstance(model, nn.Module):
            raise TypeError(f"offload takes an nn.Module, got {type(model).__name__}")
        self._model = model
        self._system = shared_system(_device_of(model, device), config or OffloadConfig())
        self._start = self._system.stats()
        self._closed = False
        self._entered = threading.local()

    @property
    def system(self) -> StormSystem:
        """The engine behind this context."""
        return self._system

    def stats(self) -> OffloadStats:
        """Counts since this context was made. Does not synchronise."""
        return self._system.stats().since(self._start)

    def close(self) -> None:
        """End the context: it cannot be entered again, and unused host memory is given back.

        What was saved before stays valid: its backward still runs.
        """
        if not self._closed:
            self._closed = True
            self._system.close()

    def __enter__(self) -> offload:
        if self._closed or self._system.closed:
            raise RuntimeError(
                f"this offload context of {self._system.device} is closed: create a new one with "
                "pamiq_storm.offload(...)"
            )
        context = _C.OffloadContext(self._system._engine, list(_stays(self._model)))
        pair = _C.hook_pair(context)
        try:
            _autograd._push_saved_tensors_default_hooks(*pair)
        except RuntimeError as error:
            raise RuntimeError(
                f"offload cannot be entered where torch has saved-tensor hooks disabled: {error} Enter it outside, "
                "around code that autograd differentiates."
            ) from None
        self._stack().append(pair)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pair = self._stack().pop()
        top = _autograd._top_saved_tensors_default_hooks(True)
        if top is None or top[0] is not pair[0]:
            raise RuntimeError(
                "offload contexts were left in another order than they were entered (a generator suspended inside "
                "one?): saved-tensor hooks of torch nest, so leave the innermost first"
            ) from error
        _autograd._pop_saved_tensors_default_hooks()

    def _stack(self) -> list[tuple[object, object]]:
        if not hasattr(self._entered, "stack"):
            self._entered.stack = []
        return self._entered.stack


def _stays(model: nn.Module | None) -> Iterator[torch.Tensor]:
    if model is not None:
        yield from model.parameters()
        yield from model.buffers()


def _device_of(model: nn.Module | None, device: torch.device | str | None) -> torch.device:
    if device is not None:
        return accelerator(device)
    devices = sorted({str(tensor.device) for tensor in _stays(model)})
    if len(devices) > 1:
        raise ValueError(
            f"the model lies on several devices ({', '.join(devices)}): name the one to relieve with device=..."
        )
    if devices:
        return accelerator(devices[0])
    current = torch.accelerator.current_accelerator()
    return accelerator(current if current is not None else "cpu")
