"""The generated parts of the benchmark's page: nobody copies a number or a conclusion by hand.

A part stands between two comments that name it, and is written anew from a result file.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pamiq_storm.bench.offload.ladder import RUNGS
from pamiq_storm.bench.offload.tables import markdown
from pamiq_storm.results import ArmRow, Results

NONE = "none"


class PageError(ValueError):
    """A page and the parts for it do not fit each other."""


def parts(results: Results) -> dict[str, str]:
    """All generated parts by name."""
    facts, found = results.facts, [row for row in results.rows if isinstance(row, ArmRow)]
    sensitivity = facts["sensitivity"]
    verdicts: list[Mapping[str, Any]] = sensitivity["verdicts"]
    return {
        "setting": _setting(results),
        "table": markdown(found, results.simulated),
        "conclusions": _bullets([v["text"] for v in verdicts if v["held"] == v["of"]]),
        "no conclusions": _bullets(
            [f"{v['text']} ({v['held']} of {v['of']})" for v in verdicts if v["held"] < v["of"]]
        ),
        "against": _against(sensitivity["storm_against"]),
        "ranges": _ranges(sensitivity["ratio_to_none"]),
        "ladder": _ladder(facts["ladder"]),
        "factors": _factors(facts["ladder"]),
        "memory then": _memory_then(facts["memory_then"]),
    }


def fill(text: str, made: Mapping[str, str]) -> str:
    """The page with these parts in their places.

    Raises:
        PageError: a place is missing, or nothing is made for one.
    """
    places = set(re.findall(r"<!-- begin ([a-z ]+) -->", text))
    if places != set(made):
        raise PageError(f"places and parts differ: {', '.join(sorted(places ^ set(made)))}")
    for name, part in made.items():
        pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
        text, count = re.subn(pattern, lambda m, part=part: f"{m[1]}{part.rstrip()}\n{m[2]}", text, flags=re.DOTALL)
        if count != 1:
            raise PageError(f"the place for {name!r} is there {count} times")
    return text


def _setting(results: Results) -> str:
    peers = ", ".join(f"{name} {version}" for name, version in results.facts["peers"].items())
    lines = [f"* `{name}`: {says}." for name, says in results.facts["workloads"].items()]
    return "\n".join([*lines, f"* torch {results.torch}; {peers}. Every figure is simulated."])


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"* {line}" for line in lines) or "* None."


def _against(found: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    lines = ["| `storm` (simulated) and | less time throughout | more time throughout | depends on the rates |"]
    lines.append("|---|---|---|---|")
    for arm, kinds in found.items():
        cells = ["; ".join(kinds[kind]) or "-" for kind in ("faster", "slower", "depends")]
        lines.append(f"| `{arm}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ranges(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    arms = list(dict.fromkeys(arm for there in found.values() for arm in there if arm != NONE))
    lines = ["| of `none`, simulated | " + " | ".join(f"`{arm}`" for arm in arms) + " |"]
    lines.append("|---|" + "--:|" * len(arms))
    for cell, there in found.items():
        values = [_range(there.get(arm)) for arm in arms]
        lines.append(f"| {cell} | " + " | ".join(values) + " |")
    return "\n".join(lines)


def _range(low_high: Sequence[float] | None) -> str:
    if low_high is None:
        return "-"
    low, high = (f"{value:.2f}" for value in low_high)
    return low if low == high else f"{low} to {high}"


def _ladder(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    header = ["simulated", "then", *RUNGS, "with head, loss and optimizer"]
    lines = ["| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
    for cell, there in found.items():
        for arm, values in there.items():
            shown = [f"{value:.1f} ms" if arm == NONE else f"{value:.2f}" for value in values]
            lines.append(f"| {cell}, `{arm}` | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _factors(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """What each change does to the ratios of each arm."""
    factors: dict[str, list[list[float]]] = {}
    for there in found.values():
        for arm, values in there.items():
            steps = [after / before for before, after in itertools.pairwise(values)]
            columns = factors.setdefault(arm, [[] for _ in steps])
            for column, step in zip(columns, steps, strict=True):
                column.append(step)
    header = ["simulated", "this simulator", "rates", "hooks", "head, loss, optimizer"]
    lines = ["| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
    for arm, columns in factors.items():
        shown = [_range([min(column), max(column)]) for column in columns]
        label = f"`{arm}`, its time" if arm == NONE else f"`{arm}`"
        lines.append(f"| {label} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _memory_then(found: Mapping[str, Mapping[str, Sequence[float | None]]]) -> str:
    lines = ["| GB, simulated | peak then | peak here | D2H then | D2H here |", "|---|--:|--:|--:|--:|"]
    for workload, there in found.items():
        for arm, values in there.items():
            cells = ["-" if value is None else f"{value:.1f}" for value in values]
            lines.append(f"| {workload}, `{arm}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)
