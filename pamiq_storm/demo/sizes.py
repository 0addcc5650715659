"""Every size of the demo, in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pamiq_storm import OffloadConfig
from pamiq_storm.demo.gpt import GPTSizes

MOVE_SHARE = 0.65
"""Simulator only: moving all activations one way takes this share of the compute time. A processor's speed is anything,
so the link's rate follows from it, measured at the start."""


@dataclass(frozen=True)
class LiveSizes:
    """Training and inference beside each other."""

    batch: int
    """Sequences of a batch that, with the copies inference needs, does not fit without STORM."""
    hz: float
    """Inferences per second; each writes one byte."""
    window: int
    """Bytes of text that an inference reads."""
    alone_s: float
    training_s: float
    line_bytes: int
    offload: OffloadConfig
    """Leaves room for the copies that inference holds."""


@dataclass(frozen=True)
class DemoSizes:
    """What one run of the demo trains, and for how long."""

    model: GPTSizes
    batch: int
    """Sequences of a batch that does not fit without STORM."""
    memory_limit_bytes: int
    """Device memory for the parts that show what fits: the first two and the last."""
    train_steps: int
    identity_batch: int
    """Sequences of a batch that is trained both with and without STORM."""
    identity_steps: int
    rounds: int
    """Measured steps of each arm."""
    text_bytes: int
    learning_rate: float
    offload: OffloadConfig
    identity_offload: OffloadConfig
    """Small enough that the smaller batch is moved as well."""
    live: LiveSizes


MIB = 1 << 20
GIB = 1 << 30

SIMULATED = DemoSizes(
    model=GPTSizes(context=256, layers=6, width=192, heads=4),
    batch=8,
    memory_limit_bytes=112 * MIB,
    train_steps=16,
    identity_batch=2,
    identity_steps=20,
    rounds=5,
    text_bytes=3_000_000,
    learning_rate=2e-3,
    offload=OffloadConfig(window_bytes="12MiB", prefetch_bytes="12MiB", keep_last_bytes="12MiB", slab_bytes="16MiB"),
    identity_offload=OffloadConfig(
        min_bytes="16KiB", window_bytes="4MiB", prefetch_bytes="4MiB", keep_last_bytes="1MiB", slab_bytes="4MiB"
    ),
    live=LiveSizes(
        batch=4,
        hz=20,
        window=64,
        alone_s=4,
        training_s=15,
        line_bytes=48,
        offload=OffloadConfig(window_bytes="8MiB", prefetch_bytes="8MiB", keep_last_bytes="4MiB", slab_bytes="16MiB"),
    ),
)

QUICK = DemoSizes(
    model=GPTSizes(context=64, layers=4, width=64, heads=2),
    batch=16,
    memory_limit_bytes=16 * MIB,
    train_steps=12,
    identity_batch=2,
    identity_steps=3,
    rounds=2,
    text_bytes=300_000,
    learning_rate=5e-3,
    offload=OffloadConfig(
        min_bytes="16KiB", window_bytes="1MiB", prefetch_bytes="1MiB", keep_last_bytes="1MiB", slab_bytes="4MiB"
    ),
    identity_offload=OffloadConfig(
        min_bytes="1KiB", window_bytes="128KiB", prefetch_bytes="128KiB", keep_last_bytes="64KiB", slab_bytes="1MiB"
    ),
    live=LiveSizes(
        batch=8,
        hz=50,
        window=16,
        alone_s=0.5,
        training_s=2.5,
        line_bytes=16,
        offload=OffloadConfig(
            min_bytes="16KiB", window_bytes="1MiB", prefetch_bytes="1MiB", keep_last_bytes="1MiB", slab_bytes="4MiB"
        ),
    ),
)

_QUICK_CUDA_OFFLOAD = OffloadConfig(
    window_bytes="32MiB", prefetch_bytes="32MiB", keep_last_bytes="32MiB", slab_bytes="64MiB"
)
QUICK_CUDA = replace(
    QUICK,
    model=GPTSizes(context=256, layers=8, width=256, heads=4),
    batch=32,
    memory_limit_bytes=640 * MIB,
    learning_rate=2e-3,
    offload=_QUICK_CUDA_OFFLOAD,
    identity_offload=SIMULATED.identity_offload,
    live=replace(QUICK.live, batch=16, offload=_QUICK_CUDA_OFFLOAD),
)
"""Large beside what cuBLAS keeps: on the largest devices 32 MiB for each thread and stream that multiplies."""

CUDA = DemoSizes(
    model=GPTSizes(context=1024, layers=12, width=768, heads=12),
    batch=8,
    memory_limit_bytes=4 * GIB,
    train_steps=20,
    identity_batch=2,
    identity_steps=20,
    rounds=5,
    text_bytes=3_000_000,
    learning_rate=1e-3,
    offload=OffloadConfig(
        window_bytes="256MiB", prefetch_bytes="256MiB", keep_last_bytes="256MiB", slab_bytes="256MiB"
    ),
    identity_offload=OffloadConfig(window_bytes="64MiB", prefetch_bytes="64MiB", keep_last_bytes="64MiB"),
    live=LiveSizes(
        batch=4,
        hz=50,
        window=256,
        alone_s=4,
        training_s=15,
        line_bytes=48,
        offload=OffloadConfig(
            window_bytes="256MiB", prefetch_bytes="256MiB", keep_last_bytes="256MiB", slab_bytes="256MiB"
        ),
    ),
)


QUICK_CUDA_NEEDS = 4 * GIB


def choose_sizes(device_bytes: int | None, quick: bool) -> DemoSizes:
    """`device_bytes` is None on the simulator. `quick` is for tests: it shows that everything runs, and its times say
    nothing.
    """
    if quick:
        return QUICK_CUDA if device_bytes is not None and device_bytes >= QUICK_CUDA_NEEDS else QUICK
    return SIMULATED if device_bytes is None else CUDA
