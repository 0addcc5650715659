"""Publication of trained parameters: what a sync costs, who waits for whom, and how much memory it takes.

Everything runs on the CPU, and then on the accelerator if one is asked for or there; names of cases begin with the
device. All arms are measured in one run, interleaved. pamiq-core's own implementation is one of them where it can be
imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Protocol

import torch

from pamiq_storm.bench.checks import Check, checks_table
from pamiq_storm.bench.console import Console, table
from pamiq_storm.bench.hardware import Link, choose
from pamiq_storm.bench.publish import compiling, kernels, memory, pace, sizes, waiting
from pamiq_storm.bench.publish.arms import live_arms
from pamiq_storm.bench.publish.setting import FULL, QUICK, Advance, Part, Plan, Setting
from pamiq_storm.bench.publish.targets import targets
from pamiq_storm.results import PublishRow, Results, collect

LINK = Link(2e9, 2e9)
LARGEST_ON_SIM = 1e6
"""Parameters: the simulated device is one processor core."""


class Measurement(Protocol):
    """A module that measures one kind of thing."""

    def steps(self, setting: Setting) -> int: ...

    def measure(self, setting: Setting, advance: Advance) -> Part: ...


ON_CPU: Sequence[Measurement] = (sizes, waiting, pace, memory, compiling)
ON_DEVICE: Sequence[Measurement] = (sizes, waiting, memory, kernels)


def run(device: str, quick: bool, console: Console) -> Results:
    """Measures on the CPU and, unless `device` is `auto` and there is no CUDA, on the accelerator."""
    parts = run_parts(device, QUICK if quick else FULL, console)
    rows = tuple(row for part in parts for row in part.rows)
    facts = {name: fact for part in parts for name, fact in part.facts.items()}
    return replace(parts[-1], rows=rows, facts=facts)


def run_parts(device: str, plan: Plan, console: Console, with_cpu: bool = True) -> list[Results]:
    """The results of each device by itself; says what was found."""
    arms, pamiq_core = live_arms()
    console.line(f"pamiq_core: {pamiq_core}")
    parts: list[Results] = []
    if with_cpu:  # it comes first: the simulator, once enabled, changes the whole process
        parts.append(_run_on(Setting(torch.device("cpu"), False, arms, plan), ON_CPU, "CPU", pamiq_core, console))
    if device != "auto" or torch.cuda.is_available():
        hardware = choose(device, LINK)
        there = plan if not hardware.simulated else _small(plan)
        setting = Setting(hardware.device, hardware.simulated, arms, there)
        parts.append(_run_on(setting, ON_DEVICE, hardware.profile, pamiq_core, console))
    return parts


def _small(plan: Plan) -> Plan:
    return replace(plan, sizes=[size for size in plan.sizes if size.parameters <= LARGEST_ON_SIM])


def _run_on(
    setting: Setting, measurements: Sequence[Measurement], profile: str, pamiq_core: str, console: Console
) -> Results:
    rows: list[PublishRow] = []
    facts: dict[str, object] = {"pamiq_core": pamiq_core, "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    with console.progress(setting.label, sum(one.steps(setting) for one in measurements)) as advance:
        for one in measurements:
            part = one.measure(setting, advance)
            rows += part.rows
            facts |= part.facts
    checks = targets(facts)
    facts["targets"] = [asdict(check) for check in checks]
    console.line(describe(rows, checks, setting.simulated))
    device = setting.device.type
    return collect("publish", device, setting.simulated, profile, rows, {device: facts})


def describe(rows: Sequence[PublishRow], checks: Sequence[Check], simulated: bool) -> str:
    """Rows and targets as text."""
    header = ["case / impl", "parameters", "tensors", "p50 ms", "p99 ms", "max ms", "copies"]
    lines = [
        [
            f"{row.case} / {row.impl}",
            f"{row.parameters:.0e}",
            str(row.tensors),
            *("-" if value is None else f"{value:.2f}" for value in (row.p50_ms, row.p99_ms, row.max_ms, row.copies)),
        ]
        for row in rows
    ]
    label = "\n(simulated)" if simulated else ""
    return f"{table(header, lines)}\n\n{checks_table(checks)}{label}\n"
