"""Devices to test on: the CPU, and the accelerator, which is where anything is offloaded."""

from collections.abc import Iterator

import pytest
import torch

import pamiq_storm.sim
from tests.machine import needs_control


@pytest.fixture(autouse=True)
def _seed(device: str) -> None:
    """Also has the accelerator present before the first backward: autograd starts its device threads only once."""
    torch.manual_seed(0)


@pytest.fixture(params=["cpu", "accelerator"])
def any_device(request: pytest.FixtureRequest, device: str) -> str:
    return "cpu" if request.param == "cpu" else device


@pytest.fixture
def slow_link(device: str) -> Iterator[None]:
    """Copies that take far longer than the computation around them."""
    needs_control("sets the speed of the link")
    from pamiq_storm.sim.native import enabled

    before = enabled().current_config()
    pamiq_storm.sim.configure(d2h="100MB/s", h2d="200MB/s")
    yield
    torch.accelerator.synchronize()
    pamiq_storm.sim.configure(d2h=before.d2h_bytes_per_s or None, h2d=before.h2d_bytes_per_s or None)
