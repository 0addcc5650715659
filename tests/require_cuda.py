"""A machine that is there to test the GPU tests it: with ``STORM_REQUIRE_CUDA`` nothing is skipped in silence.

The simulator and a GPU cannot both be torch's accelerator, so the suite takes two processes:

* ``STORM_REQUIRE_CUDA=1`` runs what has a device, on the GPU (`ON_GPU`), and refuses to begin without one;
* ``STORM_REQUIRE_CUDA=simulator`` runs the rest, and once more what asks for the simulator's means (`ON_BOTH`), with
  the GPU hidden.

Each test is in at least one of them. A skip is a failure, but for those that the other process makes good and those
that `FORGIVEN` names. ``STORM_SUITE_SECONDS`` ends a run early (under a tool that makes it slow) and says how much was
run.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import torch

TESTS = Path(__file__).resolve().parent
MODE = os.environ.get("STORM_REQUIRE_CUDA", "")
SECONDS = float(os.environ.get("STORM_SUITE_SECONDS", "inf"))

ON_GPU = ("engine", "semantics", "nn", "torch", "live", "pamiq_core", "codec", "transfer")
"""Folders whose tests have a device, or train on one."""

ON_BOTH = (
    "engine/test_errors.py", "engine/test_memory_pressure.py", "engine/test_orders.py", "engine/test_pack_bool.py",
    "engine/test_trace.py",
    "nn/test_layer_offload.py", "nn/test_storm_forward.py", "nn/test_storm_layer.py", "nn/test_storm_trainer.py",
    "semantics/test_contexts.py", "semantics/test_subclasses.py", "semantics/test_threads.py", "torch/test_corners.py",
    "torch/test_device.py",
)  # fmt: skip
"""Some tests in them hold streams, set the link's speed, fill the device exactly: on a GPU they are skipped."""

ON_NEITHER = {
    "cuda_double": "is tested in the place of CUDA's runtime, by CI",
    "gpu/test_dry_run.py": "would run what is running now",
}

FORGIVEN = (
    "pamiq_core is not installed",  # it needs Python 3.12
    r"CUDA device here",  # what takes two of them
    r"has no (nested|sparse) tensors",  # the simulator; the GPU has them
    r"^out of time",
)
"""What a skip may say."""

REFUSAL = "STORM_REQUIRE_CUDA={} allows no skip, and this was one: {}"
_BEGIN = time.monotonic()
_left_out: Counter[str] = Counter()


def place_of(path: Path) -> str:
    """The test file as the lists above write it."""
    return path.resolve().relative_to(TESTS).as_posix() if path.resolve().is_relative_to(TESTS) else path.as_posix()


def why_left_out(place: str, mode: str) -> str:
    """Why a file's tests are not run in this process; empty if they are."""
    for known, reason in ON_NEITHER.items():
        if place == known or place.startswith(f"{known}/"):
            return reason
    on_gpu = place.partition("/")[0] in ON_GPU
    if mode == "1" and not on_gpu:
        return "need no GPU: run with STORM_REQUIRE_CUDA=simulator"
    if mode == "simulator" and on_gpu and place not in ON_BOTH:
        return "have a GPU to run on: run with STORM_REQUIRE_CUDA=1"
    return ""


def is_forgiven(place: str, reason: str, mode: str) -> bool:
    """Whether this skip is all right."""
    return (mode == "1" and place in ON_BOTH) or any(re.search(pattern, reason) for pattern in FORGIVEN)


def pytest_configure(config: pytest.Config) -> None:
    del config
    if MODE not in ("", "1", "simulator"):
        raise pytest.UsageError(f"STORM_REQUIRE_CUDA must be 1 or simulator, and it is {MODE!r}")
    if MODE == "1" and not torch.cuda.is_available():
        raise pytest.UsageError("STORM_REQUIRE_CUDA=1, but torch sees no CUDA device: nothing was tested")
    if MODE == "simulator" and torch.cuda.is_available():
        raise pytest.UsageError("STORM_REQUIRE_CUDA=simulator needs the GPU hidden: set CUDA_VISIBLE_DEVICES= as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not MODE:
        return
    reasons = {item: why_left_out(place_of(item.path), MODE) for item in items}
    _left_out.update(reason for reason in reasons.values() if reason)
    if left_out := [item for item, reason in reasons.items() if reason]:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not reasons[item]]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    place = place_of(collector.path)
    if MODE and report.outcome == "skipped" and not why_left_out(place, MODE):
        _refuse(report, place)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if MODE and report.skipped and not hasattr(report, "wasxfail"):
        _refuse(report, place_of(item.path))
    return report


def _refuse(report: Any, place: str) -> None:
    reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
    reason = reason.removeprefix("Skipped: ")
    if not is_forgiven(place, reason, MODE):
        report.outcome, report.longrepr = "failed", REFUSAL.format(MODE, reason)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    if time.monotonic() - _BEGIN > SECONDS:
        pytest.skip(f"out of time: {SECONDS:.0f} s are over")


@pytest.fixture(autouse=True)
def _the_gpu_stays_torchs_accelerator() -> Generator[None]:
    yield
    accelerator = torch.accelerator.current_accelerator()
    if MODE == "1" and (accelerator is None or accelerator.type != "cuda"):
        pytest.exit(
            "a test enabled the simulator where the GPU is tested: tests/require_cuda.py is to name its file", 3
        )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["storm_left_out"] = dict(_left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Every worker has collected all, so one of them is asked."""
    _left_out.update({} if _left_out else getattr(node, "workeroutput", {}).get("storm_left_out", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason, count in sorted(_left_out.items()):
        terminalreporter.write_line(f"STORM_REQUIRE_CUDA={MODE}: {count} tests {reason}")
