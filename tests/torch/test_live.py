"""A live system of PyTorch models trains what a plain loop trains, through checkpoints, restarts and kills."""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from pamiq_storm.live import Environment, FixedIntervalInteraction, LaunchConfig, LiveSystem, TrainingModelsDict
from pamiq_storm.torch import TorchAgent, TorchTrainingModel

from ..live.parts import PATIENCE_S
from ..programs import ROOT
from .test_trainer import SCHEDULERS, Regression, all_equal, net, parameters_of, with_scheduler


class Watcher(TorchAgent[torch.Tensor, torch.Tensor]):
    def on_inference_models_attached(self) -> None:
        self.net = self.get_torch_inference_model("net", nn.Sequential)

    def step(self, observation: torch.Tensor) -> torch.Tensor:
        return self.net(observation)


class Still(Environment[torch.Tensor, torch.Tensor]):
    def __init__(self) -> None:
        self.actions: list[torch.Tensor] = []

    def observe(self) -> torch.Tensor:
        return torch.ones(1, 4)

    def affect(self, action: torch.Tensor) -> None:
        self.actions.append(action)


def system_of(
    states: Path | None, until_runs: int, seed: int = 0, device: str = "cpu", interval: float | None = None
) -> tuple[LiveSystem, Regression, Still]:
    """A system that stops itself at a number of runs."""

    class Ending(Regression):
        def teardown(self) -> None:
            super().teardown()
            if self.runs + 1 >= until_runs:
                system.stop()

    trainer, world = Ending(with_scheduler(SCHEDULERS["cosine"]), device=device), Still()
    system = LiveSystem(
        FixedIntervalInteraction.with_sleep_adjustor(Watcher(), world, 0.001),
        {"net": TorchTrainingModel(net(seed), device=device)},
        {},
        {"regression": trainer},
        LaunchConfig(states_dir=states, save_interval=interval, max_keep=3),
    )
    return system, trainer, world


@functools.cache
def straight(runs: int, device: str = "cpu") -> list[torch.Tensor]:
    """The parameters that a loop without anything beside it comes to."""
    trainer = Regression(with_scheduler(SCHEDULERS["cosine"]), device=device)
    trainer.attach_training_models(TrainingModelsDict(net=TorchTrainingModel(net(), device=device)))
    for _ in range(runs):
        trainer.run()
    return parameters_of(trainer)


@pytest.mark.parametrize("where", ["cpu", "accelerator"])
def test_training_beside_inference_and_checkpoints_is_that_of_a_plain_loop(
    where: str, device: str, tmp_path: Path
) -> None:
    place = "cpu" if where == "cpu" else device
    system, trainer, world = system_of(tmp_path, 40, device=place, interval=0.02)
    system.start()
    system.wait()
    assert trainer.runs == 40
    assert all_equal(parameters_of(trainer), straight(40, place))
    assert len({tuple(action.flatten().tolist()) for action in world.actions}) > 1, "versions reached the agent"


def test_a_restart_continues_bit_for_bit_and_serves_at_once(tmp_path: Path) -> None:
    for seed, until_runs in ((0, 5), (1, 12), (2, 20)):
        system, trainer, _ = system_of(tmp_path, until_runs, seed)
        assert all_equal(parameters_of(trainer), straight(trainer.runs))
        served = trainer.net.inference_model(torch.ones(1, 4))
        assert torch.equal(served, trainer.net(torch.ones(1, 4)).detach())
        system.start()
        system.wait()
        assert (trainer.runs, trainer.steps) == (until_runs, 2 * until_runs)
    assert all_equal(parameters_of(trainer), straight(20))


PROGRAM = """
import sys
from pathlib import Path
from tests.torch.test_live import system_of

system, _, _ = system_of(Path(sys.argv[1]), 10**9, seed=int(sys.argv[2]), interval=0.01)
system.start()
print("running", flush=True)
system.wait()
"""


def test_a_system_killed_while_it_runs_continues_bit_for_bit(tmp_path: Path) -> None:
    runs = 0
    for attempt, delay in enumerate((0.3, 0.0, 0.1)):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(attempt)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n"
            deadline = time.monotonic() + PATIENCE_S
            seen = set(tmp_path.glob("*.state"))
            while set(tmp_path.glob("*.state")) <= seen and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(delay)
        finally:
            process.kill()
            process.communicate()
        _, trainer, _ = system_of(tmp_path, 0, seed=9)
        assert trainer.runs > runs or runs == 0
        runs = trainer.runs
        assert all_equal(parameters_of(trainer), straight(runs))
    trainer.run()
    assert all_equal(parameters_of(trainer), straight(runs + 1))
