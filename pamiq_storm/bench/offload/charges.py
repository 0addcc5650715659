"""What hooks cost the host, for a clock that is computed and sees only calls of the device.

Python hooks are charged where torch meets them: in `saved_tensors_hooks`, whoever made them. What they do with the
device is charged besides, by the clock itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

US = 1e-6


@dataclass(frozen=True)
class HookCost:
    """Host seconds of one call."""

    pack_s: float
    unpack_s: float


FREE = HookCost(0, 0)

BARE_PYTHON = HookCost(1.7 * US, 1.4 * US)
"""Python hooks that do next to nothing, like checkpointing: `python_detach` in benchmarks/results/hooks.json."""

STORM = {"storm::offload": 9.3 * US, "storm::fetch": 8.5 * US}
"""Ours, by profiler range: `storm_offloaded` of the same file. Issuing the copies is in these figures and is charged by
the clock as well, so ours is charged twice for it."""


@contextmanager
def python_hooks_charged(cost: HookCost, charge: Callable[[float], None]) -> Iterator[None]:
    """Every Python hook that is entered inside costs the host so much. Hooks in C++ are not Python hooks."""
    from torch._C import _autograd  # pyright: ignore[reportAttributeAccessIssue]

    def enter(hooks: saved_tensors_hooks) -> None:
        _autograd._push_saved_tensors_default_hooks(
            _charged(hooks.pack_hook, cost.pack_s, charge), _charged(hooks.unpack_hook, cost.unpack_s, charge)
        )

    with patch.object(saved_tensors_hooks, "__enter__", enter):
        yield


def _charged(hook: Callable[[Any], Any], seconds: float, charge: Callable[[float], None]) -> Callable[[Any], Any]:
    def call(value: Tensor | Any) -> Any:
        charge(seconds)
        return hook(value)

    return call
