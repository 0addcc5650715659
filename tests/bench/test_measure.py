"""The arithmetic of the benchmarks."""

import io

import pytest
import torch
from torch import nn

from pamiq_storm.bench.bits import differing, gradients, same_bits
from pamiq_storm.bench.console import Console, table
from pamiq_storm.bench.hardware import Link, Traffic
from pamiq_storm.bench.measure import lower_bound_ms, percentile


def test_the_bound_takes_the_longer_of_compute_and_transfer_in_each_direction() -> None:
    link = Link(d2h=1e9, h2d=2e9)
    assert lower_bound_ms(10, 20, Traffic(0, 0), link) == 30
    assert lower_bound_ms(10, 20, Traffic(15_000_000, 15_000_000), link) == pytest.approx(15 + 20)
    assert lower_bound_ms(10, 20, Traffic(5_000_000, 50_000_000), link) == pytest.approx(10 + 25)


def test_percentiles() -> None:
    assert [percentile([3.0], p) for p in (10, 50, 90)] == [3.0, 3.0, 3.0]
    values = [float(v) for v in range(11)]
    assert [percentile(values, p) for p in (10, 50, 90)] == pytest.approx([1.0, 5.0, 9.0])
    assert percentile([float(v) for v in range(101)], 99) == pytest.approx(99.0)


def test_bits_tell_zeros_apart_and_find_equal_nans_equal() -> None:
    nan = torch.tensor([float("nan"), 1.0])
    assert same_bits(nan, nan.clone())
    assert not same_bits(torch.tensor([0.0]), torch.tensor([-0.0]))
    assert not same_bits(torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    assert not same_bits(torch.zeros(2), torch.zeros(2, 1))
    assert same_bits(torch.arange(6.0).view(2, 3).T, torch.arange(6.0).view(2, 3).T.contiguous())


def test_differing_gradients_are_named() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    model = nn.Sequential(first, second)
    model(torch.ones(1, 2)).sum().backward()
    before = gradients(model)
    assert differing(before, gradients(model)) == []
    assert second.bias.grad is not None
    second.bias.grad[0] += 1
    first.weight.grad = None
    assert differing(before, gradients(model)) == ["0.weight", "1.bias"]


def test_progress_is_silent_unless_on_a_terminal() -> None:
    err = io.StringIO()
    with Console(io.StringIO(), err).progress("work", 3) as advance:
        advance()
    assert err.getvalue() == ""


@pytest.mark.parametrize("with_tqdm", [True, False])
def test_progress_on_a_terminal(with_tqdm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    if with_tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(__import__("sys").modules, "tqdm", None)
    err = Terminal()
    with Console(io.StringIO(), err).progress("work", 2) as advance:
        advance()
        advance()
    assert "work" in err.getvalue()


def test_tables_align() -> None:
    assert table(["a", "bb"], [["xxx", "1"]]) == "a    bb\n---  --\nxxx   1"
