"""Published measurements predicted from their descriptions, under the simulator's virtual clock.

They are judged by the overhead of a method over its source's own baseline. Where a constant was fitted, it was to the
time of a baseline, never to an overhead. Rows that miss stay.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from pamiq_storm.bench.console import Advance, Console
from pamiq_storm.bench.fidelity.predict import Bench, fitted
from pamiq_storm.bench.fidelity.published import ROWS, SETTINGS, Row, Setting
from pamiq_storm.bench.fidelity.report import table_of, within
from pamiq_storm.bench.offload.peers import PeerMissing
from pamiq_storm.profile import Profile
from pamiq_storm.results import FidelityRow, Results, collect

SHARE = 0.2
"""By which rates are changed to see what a prediction hangs on."""
QUICK_LAYERS, QUICK_TOKENS = 2, 512


def run(device: str, quick: bool, console: Console) -> Results:
    """Predicts every published row; says how each came out.

    Raises:
        RuntimeError: a device other than the simulator was asked for.
    """
    if device == "cuda":
        raise RuntimeError("fidelity compares the simulator with what others published: use --device sim or auto")
    from pamiq_storm import sim

    sim.enable(memory="ghost", clock="virtual", limit=None)
    rows: list[FidelityRow] = []
    facts: dict[str, Any] = {}
    with console.progress("fidelity", len(ROWS)) as advance:
        for key, setting in SETTINGS.items():
            found, facts[key] = _predicted(key, _quick(setting) if quick else setting, not quick, advance)
            rows += found
            gc.collect()
    console.line(table_of(rows))
    if quick:
        console.line("quick: of sizes that nobody measured, so the verdicts mean nothing")
    return collect("fidelity", "sim", True, "as facts say for each setting", rows, facts)


def _predicted(key: str, setting: Setting, with_range: bool, advance: Advance) -> tuple[list[FidelityRow], Any]:
    bench = Bench(setting, torch.device("sim", 0))
    profile = fitted(setting, bench)
    steps = _Steps(bench)
    rows: list[FidelityRow] = []
    left_out: dict[str, str] = {}
    for row in (row for row in ROWS if row.setting == key):
        try:
            rows.append(_row(setting, row, profile, steps, with_range))
        except PeerMissing as missing:
            left_out[row.method] = str(missing)
        advance()
    return rows, {
        "source": setting.source,
        "says": setting.says,
        "machine": setting.machine.name,
        "profile": setting.machine.profile,
        "changed": {name: [value, why] for name, (value, why) in setting.machine.changes.items()},
        "fitted": {setting.fit.number: [getattr(profile, setting.fit.number), setting.fit.says]} if setting.fit else {},
        "assumed": list(setting.assumed),
        "left_out": left_out,
    }


class _Steps:
    """Steps already taken: several rows share a baseline."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._taken: dict[tuple[str, Profile], float] = {}

    def seconds(self, method: str, profile: Profile) -> float:
        if (method, profile) not in self._taken:
            self._taken[method, profile] = self._bench.step_s(method, profile)
        return self._taken[method, profile]


def _row(setting: Setting, row: Row, profile: Profile, steps: _Steps, with_range: bool) -> FidelityRow:
    def overhead(machine: Profile) -> float:
        plain, moved = steps.seconds(row.baseline, machine), steps.seconds(row.method, machine)
        return 1 - plain / moved if row.of_throughput else moved / plain - 1

    predicted = overhead(profile)
    scaled: list[Callable[[float], Profile]] = [
        lambda by: profile.scaled(link=by),
        lambda by: profile.scaled(matmul=by),
    ]
    others = [overhead(scale(by)) for scale in scaled for by in (1 - SHARE, 1 + SHARE)] if with_range else []
    return FidelityRow(
        source=setting.source,
        setting=row.setting,
        method=row.method,
        baseline=row.baseline,
        quoted=row.says,
        published=row.overhead,
        predicted=predicted,
        lowest=min(predicted, *others) if others else None,
        highest=max(predicted, *others) if others else None,
        method_ms=steps.seconds(row.method, profile) * 1e3,
        baseline_ms=steps.seconds(row.baseline, profile) * 1e3,
        fitted=row.fitted,
        within=within(row.overhead, predicted),
    )


def _quick(setting: Setting) -> Setting:
    """Too small to be compared with anything: no constant is fitted."""
    return replace(setting, shape=replace(setting.shape, layers=QUICK_LAYERS), tokens=QUICK_TOKENS, fit=None)
