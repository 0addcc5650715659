"""What is measured, how often, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from pamiq_storm.bench.publish.arms import LiveModel, MakeLive, call
from pamiq_storm.bench.publish.networks import Size
from pamiq_storm.results import PublishRow

Advance = Callable[[], None]


@dataclass(frozen=True)
class Plan:
    """Sizes and repetitions."""

    sizes: Sequence[Size]
    """In the order of their tensors for equal parameters, so that growth shows what would take too long."""
    seconds_per_size: float
    rounds: tuple[int, int]
    """At least and at most, for each size."""
    patience_s: float
    """An arm whose next sync would take longer, by its growth so far, is left out."""
    inference_s: float
    """Length of the long inference that nobody should wait for."""
    inference_rounds: int
    live: Size
    samples: int
    """Inferences of each window at 100 Hz."""
    pairs: int
    """Windows of each arm at 100 Hz."""
    compiled: Size
    backend: str
    """Of `torch.compile`."""
    compiled_syncs: int
    kernels: int
    """Kernels of training in the queue when inference comes."""
    kernel_width: int
    """Of the matrices that each multiplies on a real device."""


FULL = Plan(
    sizes=(
        Size(1e5, 8), Size(1e6, 8), Size(1e6, 480), Size(1e7, 8), Size(1e7, 480), Size(1e7, 4_808), Size(1e7, 48_000),
        Size(1e8, 8),
    ),
    seconds_per_size=8,
    rounds=(5, 200),
    patience_s=5,
    inference_s=0.5,
    inference_rounds=3,
    live=Size(1e7, 48),
    samples=300,
    pairs=5,
    compiled=Size(1e5, 8),
    backend="inductor",
    compiled_syncs=5,
    kernels=12,
    kernel_width=8192,
)  # fmt: skip

QUICK = Plan(
    sizes=(Size(1e5, 8), Size(1e5, 80), Size(1e5, 320)),
    seconds_per_size=0.1,
    rounds=(2, 5),
    patience_s=5,
    inference_s=0.05,
    inference_rounds=1,
    live=Size(1e4, 8),
    samples=25,
    pairs=2,
    compiled=Size(1e3, 4),
    backend="eager",
    compiled_syncs=2,
    kernels=4,
    kernel_width=512,
)


@dataclass(frozen=True)
class Setting:
    """A device, the arms with an inference model, and the plan."""

    device: torch.device
    simulated: bool
    arms: Mapping[str, MakeLive]
    plan: Plan

    @property
    def label(self) -> str:
        return f"{self.device.type} (simulated)" if self.simulated else self.device.type

    def publishers(self) -> dict[str, Callable[[nn.Module], LiveModel]]:
        """Makers of live models with the plain inference, by name. What is made on first use is there already."""
        return {name: partial(_ready, make) for name, make in self.arms.items()}

    def case(self, what: str) -> str:
        """Name of a case: it begins with where it was measured."""
        return f"{self.label}: {what}"


def _ready(make: MakeLive, model: nn.Module) -> LiveModel:
    live = make(model, call)
    _ = live.inference_model
    return live


@dataclass(frozen=True)
class Part:
    """What one kind of measurement found."""

    rows: Sequence[PublishRow]
    facts: Mapping[str, Any]
