"""Do released offloaders race when the user trains on a stream of his own? (simulated)

    python -m tests.races.peers FILE [FILE ...]

FILE is the module of a release that holds `OffloadActivations`: ``torchtune/training/_activation_offloading.py`` of
torchtune, ``trl/models/activation_offloading.py`` of TRL. Only the device's name is changed in it. Prints what the
detector found on the default stream and on a user's stream, and whether gradients are wrong there once the stream's
kernels come late.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pamiq_storm import sim
from pamiq_storm.bench.offload import peers
from tests.races.observe import observe

Offloader = Callable[[], AbstractContextManager[Any]]
SEEDS = 20


def load(file: Path) -> ModuleType:
    text = file.read_text().replace("torch.cuda.", "torch.sim.").replace('"cuda"', '"sim"')
    module = ModuleType("peer")
    with peers._stand_ins():
        exec(compile(text, str(file), "exec"), module.__dict__)
    return module


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Sequential(nn.Linear(256, 1024), nn.GELU(), nn.Linear(1024, 256)) for _ in range(6)]
    return nn.Sequential(*layers).to("sim")


def gradients(model: nn.Module, offloader: Offloader | None) -> list[Tensor]:
    """Of one step on the current stream, which the caller orders."""
    x = torch.linspace(-1, 1, 64 * 256, device="sim").reshape(64, 256).requires_grad_()
    if offloader is None:
        loss = model(x).square().mean()
    else:
        with offloader():
            loss = model(x).square().mean()
    return list(torch.autograd.grad(loss, [x, *model.parameters()]))


def on_a_stream_of_the_users(model: nn.Module, offloader: Offloader | None) -> list[Tensor]:
    stream = torch.Stream(device="sim")
    stream.wait_stream(torch.accelerator.current_stream())
    with stream:
        found = gradients(model, offloader)
    stream.synchronize()
    return found


def wrong_steps(model: nn.Module, offloader: Offloader) -> int:
    """Of `SEEDS` steps under shaken schedules, those whose gradients are not those of a step that waits always."""
    sim.configure(synchronous=True)
    expected = [g.cpu() for g in on_a_stream_of_the_users(model, offloader)]
    sim.configure(synchronous=False)
    wrong = 0
    for seed in range(SEEDS):
        with sim.fuzz(seed, max_delay="5ms"):
            found = on_a_stream_of_the_users(model, offloader)
            torch.accelerator.synchronize()
        wrong += not all(torch.equal(a, b.cpu()) for a, b in zip(expected, found, strict=True))
    return wrong


class Examined(NamedTuple):
    default: list[sim.Race]  # on the default stream
    users: list[sim.Race]  # on a stream of the user's
    wrong: int  # steps with wrong gradients there


def examine(offloader_of: Callable[[nn.Module], Offloader]) -> Examined:
    model = network()
    offloader = offloader_of(model)
    return Examined(
        observe(lambda: gradients(model, offloader)),
        observe(lambda: on_a_stream_of_the_users(model, offloader)),
        wrong_steps(model, offloader),
    )


def tell(file: Path) -> None:
    found = examine(lambda model: load(file).OffloadActivations)
    print(f"{file}\n  default stream: {len(found.default)} races\n  a user's stream: {len(found.users)} races")
    for kind in sorted({race.kind for race in found.users}):
        alike = [race for race in found.users if race.kind == kind]
        print(f"    {kind}: {len(alike)}, seen {sum(race.count for race in alike)} times; the first:")
        print("      " + str(alike[0]).replace("\n", "\n      "))
    print(f"  wrong gradients there under shaken schedules: {found.wrong} of {SEEDS} steps")


def main() -> None:
    sim.enable(memory="1GiB", d2h="2GB/s", h2d="2GB/s", races=True)
    for name in sys.argv[1:]:
        tell(Path(name))


if __name__ == "__main__":
    main()
