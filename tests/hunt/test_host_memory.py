"""Host memory follows what is offloaded: at most a tenth above its peak, whatever the lengths."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from pamiq_storm import OffloadConfig, offload

from ..engine.models import build, loss_of


@pytest.mark.parametrize("slab", ["64MiB", "1MiB", "64KiB"])
def test_random_lengths_take_a_tenth_more_than_is_live(
    slab: str, device: str, say_at_the_end: Callable[[str], None]
) -> None:
    model, _ = build("attention", device)
    model.eval()
    config = OffloadConfig(
        min_bytes=1024, window_bytes="1MiB", prefetch_bytes="1MiB", keep_last_bytes="64KiB", slab_bytes=slab
    )
    storm = offload(model, config)
    rng = random.Random(0)
    for _ in range(100):
        tokens = torch.randint(0, 64, (32, rng.randrange(4, 65))).to(device)
        with storm:
            loss = loss_of(model(tokens))
        loss.backward()
    stats = storm.system.stats()
    live, held = stats.peak_host_bytes, stats.peak_reserved_host_bytes
    say_at_the_end(f"host memory, slabs up to {slab}: {live} bytes live at the peak, {held / live:.3f} times that held")
    assert live > 4 << 20
    assert held * 100 <= live * 110
    assert stats.pool_misses < 150
