"""What the detector finds in the offloaders that others have released, confirmed by wrong numbers."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch

from pamiq_storm import OffloadConfig, offload, sim
from pamiq_storm.bench.offload import peers
from tests.races.peers import Examined, examine, load

pytestmark = [
    pytest.mark.races_on_purpose,
    pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream does not match"),
]


def examined(name: str, release: str) -> Examined:
    if (installed := peers.version(name)) != release:
        pytest.skip(f"{name} {release} is examined here, and this is: {installed}")
    sim.enable(memory="1GiB", d2h="2GB/s", h2d="2GB/s")
    package = peers.RELEASES[name]
    file = Path(str(distribution(package.package).locate_file(package.path)))
    return examine(lambda model: load(file).OffloadActivations)


def test_this_engine_does_not_race_and_its_gradients_are_right(device: str, config: OffloadConfig) -> None:
    assert examine(lambda model: lambda: offload(model, config)) == Examined([], [], 0)


def test_torchs_own_does_not_race_and_its_gradients_are_right(device: str) -> None:
    save_on_cpu = torch.autograd.graph.save_on_cpu
    assert examine(lambda model: lambda: save_on_cpu(pin_memory=True)) == Examined([], [], 0)


def test_torchtune_races_on_a_users_stream_and_its_gradients_are_wrong() -> None:
    found = examined("torchtune", "0.6.1")
    assert found.default == []
    assert {race.kind for race in found.users} == {"read after write", "reuse"}
    assert found.wrong > 0


def test_trl_does_not_race_and_its_gradients_are_right() -> None:
    assert examined("trl", "1.16.0") == Examined([], [], 0)
