"""Every test here runs on the simulated accelerator with the same settings."""

import pytest
import torch

from pamiq_storm import sim as simulator

SETTINGS = {
    "memory": "1GiB",
    "d2h": None,
    "h2d": None,
    "pageable": None,
    "poison": True,
    "synchronous": False,
}


@pytest.fixture(autouse=True)
def sim():
    """The simulator with unthrottled links; what a test changes is undone after it."""
    simulator.enable(**SETTINGS)
    simulator.reset_stats()
    torch.manual_seed(0)
    yield simulator
    torch.accelerator.synchronize()
    simulator.configure(**SETTINGS)


@pytest.fixture
def stream():
    """A stream of its own."""
    return torch.Stream(device="sim")
