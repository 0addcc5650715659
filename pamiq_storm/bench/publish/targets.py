"""What publication is meant to reach, held against what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pamiq_storm.bench.checks import Check, at_most
from pamiq_storm.bench.publish.memory import AT_REST

Facts = Mapping[str, Any]

SWAP = "storm_swap"
SIZES = {"1e+07/4808": 1.2, "1e+08/8": 1.2}


def targets(facts: Facts) -> list[Check]:
    """The statements about ours for which `facts` of one device has a figure."""
    ratios = facts.get("sync_ratio_to_foreach_copy", {})
    found = [
        at_most(f"sync / foreach_copy, parameters/tensors {size}", ratios[size][SWAP], limit)
        for size, limit in SIZES.items()
        if SWAP in ratios.get(size, {})
    ]
    growth = facts.get("growth_with_tensors", {}).get(SWAP)
    if growth and growth["tensors"] >= 10_000:
        found.append(at_most("growth of sync with tensors, exponent", growth["exponent"], 1.1))
    longest = facts.get("longest_sync_behind_inference_ms", {})
    found += [at_most(f"longest sync of {n} behind a long inference, ms", longest[n], 5) for n in _ours(longest)]
    rate = facts.get("inference_at_100_hz", {}).get(SWAP)
    if rate:
        found.append(at_most("p99 beside training and sync / beside training, median of pairs", rate["median"], 1.15))
    compiled = facts.get("recompilations", {})
    found += [at_most(f"recompilations of {n} after a sync", compiled[n], 0) for n in _ours(compiled)]
    copies = facts.get("copies", {})
    found += [
        at_most(f"copies of {name} at rest", copies[name][AT_REST], limit + 0.05)
        for name, limit in ((SWAP, 2), ("storm_copy", 3))
        if name in copies
    ]
    waited = facts.get("kernels_of_training_waited_for", {}).get(SWAP, {})
    found += [
        at_most(f"kernels of training that an inference waits for, {case.replace('_', ' ')}", waited[case], 1)
        for case in ("behind_training", "behind_training_and_sync")
        if case in waited
    ]
    return found


def _ours(figures: Mapping[str, Any]) -> list[str]:
    return [name for name in figures if name.startswith("storm")]
