"""Where inference computes on an accelerator: on a stream of its own, so that it does not queue behind training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .. import _C
from .._engine import accelerator

__all__ = ["inference_stream"]

_HOST_TYPES = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size, slice)


def inference_stream(device: torch.device | str) -> torch.Stream | None:
    """The stream with high priority that live models of `device` infer on; None for the CPU.

    A thread that makes it its current stream (`torch.accelerator.set_stream`) shares it: what it prepares and what it
    does with results then waits for nothing but its own work. `TorchAgent.setup` does so.
    """
    device = torch.device(device)
    if device.type in ("cpu", "meta"):
        return None
    return _C.publish_streams(accelerator(device))[0]


@contextlib.contextmanager
def on(stream: torch.Stream, inputs: Any) -> Iterator[list[Any]]:
    """Compute on `stream` what the caller, whose current stream may be another, gets.

    Device tensors in `inputs` are waited for. What is appended to the list is ready on the caller's stream. Inputs and
    results of unknown types count as device tensors.
    """
    caller = torch.accelerator.current_stream(stream.device)
    if caller == stream:
        yield []
        return
    waits = _on_device(inputs)
    if waits:
        stream.wait_stream(caller)
    outputs: list[Any] = []
    try:
        with stream:
            yield outputs
    finally:  # after an exception too: kernels may still read the inputs
        if waits or _on_device(outputs):
            caller.wait_stream(stream)
        for leaf in pytree.tree_leaves(outputs):
            if isinstance(leaf, torch.Tensor) and leaf.device == stream.device:
                leaf.record_stream(caller)  # pyright: ignore[reportArgumentType]


def _on_device(tree: Any) -> bool:
    return any(
        leaf.device.type != "cpu" if isinstance(leaf, torch.Tensor) else not _is_host_value(leaf)
        for leaf in pytree.tree_leaves(tree)
    )


def _is_host_value(leaf: Any) -> bool:
    return isinstance(leaf, _HOST_TYPES) or type(leaf).__module__ == "numpy"
