"""Parts of the demo by themselves."""

from collections.abc import Iterator

import pytest

from pamiq_storm.bench.hardware import Link, SimulatedHardware
from pamiq_storm.demo.sizes import MIB, QUICK
from pamiq_storm.demo.stages import Setting, compare_bits
from pamiq_storm.demo.text import standard_library


@pytest.fixture
def setting(device: str) -> Iterator[Setting]:
    if device != "sim":
        pytest.skip("the limit of a real device is a share of its memory")
    hardware = SimulatedHardware(Link(2e9, 2e9))
    yield Setting(hardware, QUICK, standard_library(QUICK.text_bytes), 0)
    hardware.limit_memory(1024 * MIB)


def test_bits_are_compared_without_the_memory_limit(setting: Setting) -> None:
    """Two models and their optimizers' state leave too little of it."""
    setting.hardware.limit_memory(4 * MIB)
    assert compare_bits(setting, lambda: None).different == ()
