"""What a report says, and when the detector looks at all."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from pamiq_storm import sim
from tests.races.conftest import Elsewhere
from tests.races.known import COUNT, pinned, present, stream, tensor
from tests.races.observe import observe

pytestmark = pytest.mark.races_on_purpose


class CopiedAside(torch.autograd.Function):
    """Copies on a stream that waits for nobody."""

    side: torch.Stream
    host: Tensor

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[override]
        return x * 2

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
        doubled = grad * 2
        with CopiedAside.side:
            CopiedAside.host.copy_(doubled, non_blocking=True)
        return doubled


class Inner(nn.Module):
    def __init__(self, careless: bool) -> None:
        super().__init__()
        self.careless = careless

    def forward(self, x: Tensor) -> Tensor:
        y = CopiedAside.apply(x)
        if self.careless:
            with CopiedAside.side:
                CopiedAside.host.copy_(y.detach(), non_blocking=True)
        return y


class Outer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Inner(False), Inner(True)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x.sum()


def step() -> None:
    CopiedAside.side, CopiedAside.host = stream(), pinned()
    x = tensor().fill_(1).requires_grad_()
    CopiedAside.side.wait_stream(present())
    Outer()(x).backward()
    present().wait_stream(CopiedAside.side)


def races_of_a_step() -> list[sim.Race]:
    return observe(step)


def early_read() -> list[sim.Race]:
    def program() -> None:
        host, x = pinned(), tensor().fill_(1)
        for _ in range(3):
            host.copy_(x, non_blocking=True)
            host.sum()

    return observe(program)


def stale_wait() -> list[sim.Race]:
    def program() -> None:
        side, x = stream(), tensor().fill_(1)
        side.wait_stream(present())
        x.add_(1)
        with side:
            x * 2
        present().wait_stream(side)

    return observe(program)


def test_a_race_in_forward_names_the_innermost_module(run: Elsewhere) -> None:
    (race,) = [
        r for r in run(races_of_a_step) if r.second.operation == "copy_d2h" and "backward" not in r.second.module
    ]
    assert race.first.module == "Outer.layers.1"
    assert race.second.module == "Outer.layers.1"
    assert race.second.tensor == f"src: Float [{COUNT}]"


def test_a_race_in_backward_names_the_module_whose_forward_made_the_node(run: Elsewhere) -> None:
    found = [race.second.module for race in run(races_of_a_step) if "backward" in race.second.module]
    assert found[0].startswith("Outer.layers.1, backward")
    assert any(module.startswith("Outer.layers.0, backward") for module in found)


def test_races_alike_are_one_with_a_count(run: Elsewhere) -> None:
    (race,) = run(early_read)
    assert race.count == 3
    assert race.bytes == 4 * COUNT
    assert race.second.actor == "host"


def test_a_report_reads_as_a_sentence_for_each_side(run: Elsewhere) -> None:
    (race,) = run(stale_wait)
    lines = str(race).splitlines()
    assert lines[0] == f"read after write of {4 * COUNT} bytes, once:"
    assert lines[1].startswith(f"  first    aten::add.out (out: Float [{COUNT}]) on stream 0 of sim:0")
    assert lines[2].startswith(f"  second   aten::mul.out (self: Float [{COUNT}]) on stream ")
    assert "must wait for an event recorded on stream 0 of sim:0 after that operation" in lines[3]
    assert "it knows stream 0 of sim:0 up to operation" in lines[3]


def test_looking_for_races_can_be_turned_off_and_leaves_no_hooks(device: str) -> None:
    hooks = nn.modules.module._global_forward_hooks, nn.modules.module._global_forward_pre_hooks
    with_races = [len(h) for h in hooks]
    sim.configure(races=False)
    try:
        assert [len(h) for h in hooks] == [n - 1 for n in with_races]
        assert torch.Tensor.tolist is torch._C.TensorBase.tolist
        assert early_read() == []
    finally:
        sim.configure(races=True)
    assert len(early_read()) == 1


def test_names_of_modules_leave_no_trace_in_them(run: Elsewhere) -> None:
    run(races_of_a_step)
    model = Outer()
    assert copy.deepcopy(model).__dict__.keys() == Outer().__dict__.keys()


def test_what_happened_while_nobody_looked_is_no_race(device: str) -> None:
    side, x = stream(), tensor()
    sim.configure(races=False)
    x.fill_(1)
    sim.configure(races=True)
    with side:
        x * 2
    assert sim.races() == []
