"""The time of a sync against the number of parameters and of tensors."""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from pamiq_storm.bench.publish.arms import COPIES, YARDSTICK, Publisher
from pamiq_storm.bench.publish.networks import Size, Tower, count
from pamiq_storm.bench.publish.rounds import no_collection, rotated, row, timed_ms
from pamiq_storm.bench.publish.setting import Advance, Part, Setting
from pamiq_storm.results import PublishRow

SYNC = "sync"
COPIES_PER_ARM = 3

Times = Mapping[str, Sequence[float]]
Past = dict[tuple[str, float], list[tuple[int, float]]]
"""By arm and number of parameters: tensors, and seconds a sync took."""


def steps(setting: Setting) -> int:
    """Calls of `advance`."""
    return len(setting.plan.sizes)


def measure(setting: Setting, advance: Advance) -> Part:
    """All sizes, each with all arms side by side."""
    rows: list[PublishRow] = []
    ratios: dict[str, dict[str, float]] = {}
    left_out: list[str] = []
    past: Past = {}
    for size in setting.plan.sizes:
        names = _affordable(setting, size, past, left_out)
        if names:
            torch.manual_seed(0)
            model = Tower(size).to(setting.device)
            times = _measure_size(setting, model, names)
            for name, found in times.items():
                rows.append(row(name, setting.case(SYNC), model, found))
                past.setdefault((name, size.parameters), []).append((size.tensors, statistics.median(found) / 1e3))
            ratios[_size_name(model)] = ratios_to_yardstick(times)
        advance()
    facts = {"sync_ratio_to_foreach_copy": ratios, "growth_with_tensors": growth(rows), "left_out": left_out}
    return Part(rows, facts)


def ratios_to_yardstick(times: Times) -> dict[str, float]:
    """Median over the rounds of an arm's time by that of the yardstick in the same round."""
    base = times[YARDSTICK]
    return {
        name: statistics.median(t / b for t, b in zip(found, base, strict=True))
        for name, found in times.items()
        if name != YARDSTICK
    }


def growth(rows: Sequence[PublishRow]) -> dict[str, dict[str, float]]:
    """How the time grows with tensors, at the number of parameters measured with most numbers of tensors.

    `exponent` is that of a power law through the two largest numbers (1 or less: linear), `us_per_tensor` the slope
    from the smallest to the largest.
    """
    groups: dict[str, dict[str, list[PublishRow]]] = {}
    for found in rows:
        by_impl = groups.setdefault(f"{found.parameters:.0e}", {})
        by_impl.setdefault(found.impl, []).append(found)
    if not groups:
        return {}
    widest = max(groups.values(), key=lambda by_impl: max(len(found) for found in by_impl.values()))
    return {impl: _growth(found) for impl, found in widest.items() if len(found) > 1}


def _growth(rows: Sequence[PublishRow]) -> dict[str, float]:
    points = sorted((found.tensors, found.p50_ms or 0.0) for found in rows)
    (first, first_ms), (before, before_ms), (last, last_ms) = points[0], points[-2], points[-1]
    return {
        "exponent": math.log(last_ms / before_ms) / math.log(last / before),
        "us_per_tensor": (last_ms - first_ms) * 1e3 / (last - first),
        "tensors": last,
    }


def _measure_size(setting: Setting, model: nn.Module, names: Sequence[str]) -> Times:
    """Each arm has a module of its own: none finds its tensors in the cache because another has just read them."""
    arms = {name: _make(setting, name, model) for name in names}
    with no_collection():
        # The first sync makes layouts and buffers; the second tells how many rounds there is time for.
        warm = [sum(timed_ms(arm.sync, setting.device) for arm in arms.values()) for _ in range(2)][-1]
        least, most = setting.plan.rounds
        rounds = min(most, max(least, int(setting.plan.seconds_per_size * 1e3 / warm)))
        times: dict[str, list[float]] = {name: [] for name in arms}
        for number in range(rounds):
            for name in rotated(names, number):
                times[name].append(timed_ms(arms[name].sync, setting.device))
    return times


def _make(setting: Setting, name: str, model: nn.Module) -> Publisher:
    own = copy.deepcopy(model)
    return COPIES[name](own) if name in COPIES else setting.publishers()[name](own)


def _affordable(setting: Setting, size: Size, past: Past, left_out: list[str]) -> list[str]:
    name_of_size = f"{size.parameters:.0e} parameters in {size.tensors} tensors"
    names = [*setting.arms, *COPIES]
    if setting.device.type == "cpu":
        needed, free = int(4 * size.parameters) * COPIES_PER_ARM * len(names), _free_memory()
        if needed > free:
            left_out.append(f"{name_of_size}: needs {needed} bytes of memory, {free} are free")
            return []
    kept: list[str] = []
    for name in names:
        seconds = _expected(past.get((name, size.parameters), []), size.tensors)
        if seconds > setting.plan.patience_s and name != YARDSTICK:
            left_out.append(f"{name_of_size}: {name}, which would take {seconds:.0f} s for one sync")
        else:
            kept.append(name)
    return kept


def _expected(past: Sequence[tuple[int, float]], tensors: int) -> float:
    """Seconds, by the power law through the last two numbers of tensors."""
    if len(past) < 2:
        return 0.0
    (before, before_s), (last, last_s) = past[-2:]
    return last_s * (tensors / last) ** (math.log(last_s / before_s) / math.log(last / before))


def _free_memory() -> int:
    """Host memory that can be had without swapping."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) << 10


def _size_name(model: nn.Module) -> str:
    parameters, tensors = count(model)
    return f"{parameters:.0e}/{tensors}"
