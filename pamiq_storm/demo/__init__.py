"""The main job: a model that does not fit into device memory trains with STORM, bit for bit as without it."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from pamiq_storm.bench import hardware as devices
from pamiq_storm.bench.checks import checks_table
from pamiq_storm.bench.compare import comparison_steps
from pamiq_storm.bench.console import Console
from pamiq_storm.bench.plot import PlottingError, memory_figure
from pamiq_storm.demo import live, report, stages
from pamiq_storm.demo.report import Findings
from pamiq_storm.demo.sizes import choose_sizes
from pamiq_storm.demo.text import standard_library
from pamiq_storm.results import Results, collect, write_together

STARTING_LINK = devices.Link(1e9, 1e9)
ARMS = 4


def run(out: Path, device: str, quick: bool, seed: int, console: Console) -> int:
    """Runs all parts, writes `results.json` and `memory.png` into `out`, and returns the exit status.

    Nothing is written before everything has been measured. The status is 0 if what must be so was so (memory runs out
    without STORM and not with it, the loss falls, all bits agree), whatever the performance targets say.

    Raises:
        RuntimeError: the device asked for is not there.
        PermissionError: `out` cannot be written to.
    """
    _check_writable(out)
    torch.set_num_threads(1)  # the simulated device computes on one core; the host's work must not take the other
    hardware = devices.choose(device, STARTING_LINK)
    if not hardware.simulated:
        _make_deterministic()
    sizes = choose_sizes(hardware.memory_bytes, quick)
    setting = stages.Setting(hardware, sizes, standard_library(sizes.text_bytes), seed)
    label = f"{hardware.device.type} ({hardware.profile})"
    console.line(f"pamiq_storm demo on {label}" + (": every figure is simulated" if hardware.simulated else ""))
    findings = _measure(setting, console)
    results = collect(
        "demo",
        hardware.device.type,
        hardware.simulated,
        hardware.profile,
        findings.comparison.rows,
        report.facts(findings),
    )
    _say_results(findings, console)
    _write(out, results, findings, console)
    failed = [check.name for check in report.correctness(findings) if not check.held]
    for name in failed:
        console.line(f"FAILED: {name}")
    return 1 if failed else 0


def _make_deterministic() -> None:
    """Some CUDA kernels add in any order: two runs would differ in the last bit with no offloading at all."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]


def _measure(setting: stages.Setting, console: Console) -> Findings:
    sizes = setting.sizes
    with console.progress("measuring the device", stages.CALIBRATION_STEPS) as advance:
        saved = stages.calibrate(setting, advance)
    console.line(report.headline(setting, saved))
    console.line("\n1. Without STORM")
    plain = stages.train(setting, with_storm=False, advance=lambda: None)
    console.line(f"   {plain.error or 'no error: it fits'}")
    console.line("2. The same run with STORM")
    with console.progress("training", sizes.train_steps) as advance:
        storm = stages.train(setting, with_storm=True, advance=advance)
    console.line(f"   {storm.error or _progress_of(storm)}")
    console.line(f"3. Bits: {report.sizes_line(sizes)}")
    with console.progress("comparing bits", sizes.identity_steps) as advance:
        identity = stages.compare_bits(setting, advance)
    console.line(f"   {identity.tensors} tensors compared, {len(identity.different)} differ")
    console.line("4. Arms at the full batch, memory limit lifted so that 'none' can run")
    with console.progress("measuring the device", stages.CALIBRATION_STEPS) as advance:
        stages.calibrate(setting, advance)  # once more: a minute ago the machine may have been busier
    console.line(f"   {report.link_line(setting)}")
    with console.progress("measuring arms", comparison_steps(ARMS, sizes.rounds)) as advance:
        comparison = stages.compare_arms(setting, advance)
    console.line(f"5. Live: {report.live_headline(setting)}")
    with console.progress("writing", live.inferences(sizes.live)) as advance:
        found = live.run(setting, advance)
    console.line(report.live_lines(found))
    return Findings(setting, saved, plain, storm, identity, comparison, found)


def _progress_of(training: stages.Training) -> str:
    losses = training.losses
    return f"{len(losses)} steps in {training.seconds:.0f} s, loss {losses[0]:.3f} to {losses[-1]:.3f}"


def _say_results(findings: Findings, console: Console) -> None:
    simulated = " (simulated)" if findings.setting.hardware.simulated else ""
    console.line("\n" + report.arms_table(findings.comparison))
    console.line(report.LEGEND)
    console.line(f"optimizer step: {findings.comparison.optimizer_ms:.0f} ms\n")
    console.line(checks_table(report.targets(findings)) + simulated)


def _write(out: Path, results: Results, findings: Findings, console: Console) -> None:
    simulated = ", simulated" if results.simulated else ""
    title = f"Training a byte-level GPT: device memory in one step ({results.device}{simulated})"
    made = {"results.json": results.to_bytes()}
    try:
        made["memory.png"] = memory_figure(findings.comparison.lines, findings.setting.sizes.memory_limit_bytes, title)
    except PlottingError as error:
        console.line(f"no memory.png: {error}")
    write_together(out, made)
    console.line(f"wrote {' and '.join(str(out / name) for name in made)}")


def _check_writable(out: Path) -> None:
    """Better now than after a minute of work."""
    existing = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise PermissionError(f"cannot write results into {out}: {existing} is not a folder this user may write to")
