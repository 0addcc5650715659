"""Devices to test on: the CPU, and the simulated accelerator, which is where anything is offloaded."""

from collections.abc import Iterator

import pytest
import torch

import pamiq_storm.sim


@pytest.fixture
def sim() -> Iterator[str]:
    """The simulated accelerator with room for everything; its work is over when the test ends."""
    pamiq_storm.sim.enable(memory="2GiB", d2h=None, h2d=None)
    yield "sim"
    torch.accelerator.synchronize()


@pytest.fixture(params=["cpu", "sim"])
def device(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("sim") if request.param == "sim" else "cpu"


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)
