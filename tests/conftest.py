"""One set of behaviours, run on each device that is present."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch

from pamiq_storm import OffloadConfig, _engine, sim
from tests.cuda_double import control

pytest_plugins = ["tests.require_cuda"]

torch.set_num_threads(1)
control.adopt()
sim.enable.__kwdefaults__["races"] = True  # whichever test enables the simulator, races are looked for


def _devices() -> list[str]:
    return ["cuda"] if torch.cuda.is_available() else ["sim"]


@pytest.fixture(scope="session", params=_devices())
def device(request: pytest.FixtureRequest) -> str:
    """An accelerator: CUDA, be it real or its double, or the simulator."""
    if request.param == "sim":
        sim.enable(memory="1GiB", d2h="2GB/s", h2d="2GB/s")
    return request.param


@pytest.fixture
def config() -> OffloadConfig:
    """Small enough that the small models of the tests are moved."""
    return OffloadConfig(
        min_bytes=1024, window_bytes="64KiB", prefetch_bytes="64KiB", keep_last_bytes="16KiB", slab_bytes="1MiB"
    )


@pytest.fixture(autouse=True)
def _fresh_engines() -> Iterator[None]:
    """Neither a test's graphs nor what an engine learned in it live on in the next one's figures."""
    yield
    gc.collect()
    gc.freeze()  # what lives now is not looked at again: else each collection costs more than most tests
    for system in list(_engine._systems.values()):
        system.close()


def _refused_by_version(race: sim.Race) -> bool:
    """The program writes to a tensor while the engine's copy of its bytes is under way. Whether the host has learnt by
    then that the copy is over is chance; the copy is never used, since the tensor's version has moved on."""
    copied = race.first.operation == "copy_d2h" and "Byte" in race.first.tensor
    return copied and race.kind == "write after read" and not race.second.operation.startswith("copy_h2d")


@pytest.fixture(autouse=True)
def _no_races(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing that a test did on the simulator was left to chance, unless the test says so."""
    yield
    if not sim.is_enabled():
        return
    found = [race for race in sim.races() if not _refused_by_version(race)]
    sim.clear_races()
    if found and request.node.get_closest_marker("races_on_purpose") is None:
        pytest.fail("races:\n" + "\n".join(map(str, found)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in (report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])):
        for name, line in report.user_properties:
            if name == "said" and report.when == "call":
                terminalreporter.write_line(line)
