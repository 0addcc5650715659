"""docs/gpu-results.md, made from the files in one folder and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pamiq_storm.bench.docs import figures_table
from pamiq_storm.results import ArmRow, PublishRow, Results
from tools.gpu.compare import NONE, Compared
from tools.gpu.found import SUITES

HEAD = "# Results on a GPU\n"
DRY = (
    "> **A dry run.** No GPU took part: a double of CUDA's runtime stood in for it, in small sizes. It shows that "
    "every step works. No figure below means anything.\n"
)
NOT_YET = """
Not yet measured on a GPU: no figure in this documentation was taken on one.

`make gpu` builds, tests and measures on a machine that has one, and writes this page: the suite with no test skipped in
silence, compute-sanitizer, the machine's own profile, the demo, the benchmarks with every arm, and each measured ratio
beside the one that the simulator predicts for that machine. What it runs, and how to bring it to a machine without a
network: [tools/gpu/README.md](../tools/gpu/README.md).
"""
GB = 1e9


def page(folder: Path, link: str) -> str:
    """The whole page for what lies in `folder`: a summary, and the results beside it. `link` leads there."""
    if not (folder / "summary.json").exists():
        return HEAD + NOT_YET
    summary = json.loads((folder / "summary.json").read_text())
    compared = [Compared(**entry) for entry in summary["compared"]]
    known = {name: Results.read(folder / f"{name}.json") for name in summary["results"]}
    parts = [HEAD, DRY if summary["machine"]["dry"] else "", _machine(summary), _steps(summary), _tests(summary)]
    parts.append(_verdict(compared))
    if offload := known.get("offload"):
        parts.append(_offload(offload, known.get("predicted"), compared))
    if demo := known.get("demo"):
        parts.append(f"## The demo\n\n{figures_table(demo)}\n")
    parts += [
        _hooks(compared),
        _kernels(summary["kernels"]),
        _publish(compared, known.get("publish")),
        _figures(summary["figures"], link),
    ]
    return "\n".join(part for part in parts if part)


def _machine(summary: Mapping[str, Any]) -> str:
    m = summary["machine"]
    what = (
        f"{m['gpu']} ({m['memory'] / GB:.0f} GB, compute capability {m['capability']}), driver {m['driver']}, "
        f"{m['cores']} cores of {m['processor']}"
    )
    return (
        f"Measured on {summary['date']} on: {what}; torch {m['torch']}, CUDA {m['cuda']}, Python {m['python']}. "
        f"Sources: `{summary['commit'] or summary['sources']}`. Written by `make gpu`.\n"
    )


def _steps(summary: Mapping[str, Any]) -> str:
    lines = ["## What was run", "", "| step | | seconds |", "|---|---|--:|"]
    for name, step in summary["steps"].items():
        reason = f": {step['reason']}" if step["reason"] else ""
        lines.append(f"| {name} | {_strong(step['status'])}{_cell(reason)} | {step['seconds']:.0f} |")
    return "\n".join([*lines, ""])


def _strong(status: str) -> str:
    return status if status in ("passed", "left out") else f"**{status}**"


def _tests(summary: Mapping[str, Any]) -> str:
    if not summary["tests"]:
        return ""
    lines = ["| tests | passed | failed | skipped |", "|---|--:|--:|--:|"]
    reasons: list[str] = []
    for name, found in summary["tests"].items():
        lines.append(f"| {SUITES[name]} | {found['passed']} | {found['failed']} | {sum(found['skipped'].values())} |")
        reasons += [f"* {count} skipped {SUITES[name]}: {_cell(why)}" for why, count in found["skipped"].items()]
    return "\n".join([*lines, "", *reasons, ""] if reasons else [*lines, ""])


def _verdict(compared: Sequence[Compared]) -> str:
    judged = [one for one in compared if one.within is not None]
    if not judged:
        return ""
    lines = ["## Measured against predicted", ""]
    for suite, rule in (
        (
            "offload",
            "times within a quarter of the overhead or three points, peaks within three points of no offload's",
        ),
        ("hooks", "at most a quarter more than the simulator charges"),
    ):
        those = [one for one in judged if one.suite == suite]
        if those:
            lines.append(
                f"* {suite}: {sum(bool(one.within) for one in those)} of {len(those)} ratios are met ({rule})."
            )
    lines.append("")
    lines.append("Predictions are simulated, with the profile that `calibrate` took of this machine.")
    return "\n".join([*lines, ""])


def _offload(measured: Results, predicted: Results | None, compared: Sequence[Compared]) -> str:
    rows = [row for row in measured.rows if isinstance(row, ArmRow)]
    others = {(r.workload, r.arm): r for r in (predicted.rows if predicted else ()) if isinstance(r, ArmRow)}
    known = {(one.case, one.arm, one.figure): one for one in compared if one.suite == "offload"}
    lines = ["## Ways to train", ""]
    for workload in dict.fromkeys(row.workload for row in rows):
        lines += [f"### {workload} on {measured.profile}", ""]
        both = "of none | simulated |"
        lines.append(f"| arm | step, ms | simulated | {both} | peak, GB | {both} | pinned, GB | bits |")
        lines.append("|---|--:|--:|--:|--:|---|--:|--:|--:|---|--:|---|")
        there = [row for row in rows if row.workload == workload]
        lines += [_arm(row, others.get((workload, row.arm)), known) for row in there]
        lines += ["", *[f"* `{row.arm}`: {_cell(row.note)}" for row in there if row.note], ""]
    return "\n".join(lines).rstrip() + "\n"


def _arm(row: ArmRow, other: ArmRow | None, known: Mapping[tuple[str, str, str], Compared]) -> str:
    time = known.get((row.workload, row.arm, "step, of none"))
    peak = known.get((row.workload, row.arm, "peak, of none"))
    cells = [
        f"`{row.arm}`",
        _number(row.step_ms, ".1f"),
        _number(other and other.step_ms, ".1f"),
        *_ratio(time, row.arm),
        _number(row.peak_allocated_bytes, ".2f", GB),
        *_ratio(peak, row.arm),
        _number(row.pinned_bytes, ".2f", GB),
        {None: "-", True: "same", False: "**differ**"}[row.bit_identical],
    ]
    return "| " + " | ".join(cells) + " |"


def _ratio(one: Compared | None, arm: str) -> tuple[str, str, str]:
    if one is None:
        return ("1.00", "1.00", "") if arm == NONE else ("-", "-", "")
    return _number(one.measured, ".2f"), _number(one.predicted, ".2f"), _met(one.within)


def _met(within: bool | None) -> str:
    return {None: "", True: "met", False: "**missed**"}[within]


def _hooks(compared: Sequence[Compared]) -> str:
    those = [one for one in compared if one.suite == "hooks"]
    if not those:
        return ""
    lines = ["## Host time that a hook adds, per saved tensor", ""]
    lines += ["| case | hook | | measured, us | simulated, us | |", "|---|---|---|--:|--:|---|"]
    for one in those:
        way = one.figure.partition(",")[0]
        shown = f"{_number(one.measured, '.2f')} | {_number(one.predicted, '.2f')}"
        lines.append(f"| {one.case} | `{one.arm}` | {way} | {shown} | {_met(one.within)} |")
    return "\n".join([*lines, ""])


def _kernels(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return ""
    lines = [
        "## Kernels of ours",
        "",
        "Expected: the bytes they read and write by the memory's measured bandwidth.",
        "",
    ]
    lines += ["| kernel | elements | measured, us | expected, us | |", "|---|--:|--:|--:|---|"]
    for one in found:
        shown = f"{one['seconds'] * 1e6:.1f} | {one['expected_s'] * 1e6:.1f} | {_met(one['within'])}"
        lines.append(f"| `{one['kernel']}` | {one['bools']} | {shown} |")
    return "\n".join([*lines, ""])


def _publish(compared: Sequence[Compared], results: Results | None) -> str:
    those = [one for one in compared if one.suite == "publish"]
    if not those or results is None:
        return ""
    lines = ["## Publishing parameters", "", "A sync by `foreach_copy` of the same tensors, median of the rounds.", ""]
    lines += ["| parameters/tensors | | measured | simulated |", "|---|---|--:|--:|"]
    for one in those:
        lines.append(f"| {one.case} | `{one.arm}` | {_number(one.measured, '.2f')} | {_number(one.predicted, '.2f')} |")
    lines += ["", "| copies of the parameters in memory | | |", "|---|---|--:|"]
    for row in results.rows:
        if isinstance(row, PublishRow) and row.copies is not None:
            lines.append(f"| {row.case} | `{row.impl}` | {row.copies:.2f} |")
    return "\n".join([*lines, ""])


def _figures(names: Sequence[str], link: str) -> str:
    return "".join(f"![{name}]({link}/{name}.png)\n" for name in names)


def _number(value: float | None, format_: str, unit: float = 1) -> str:
    return "-" if value is None else format(value / unit, format_)


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "/").replace("\n", " ")
