"""The operator is torch's linear to the last bit: the output, and every gradient, whatever the layout."""

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

import pamiq_storm.nn  # noqa: F401  (registers the operator)

IN, OUT = 67, 45
storm_forward = torch.ops.pamiq_storm.storm_forward

# Shape of the leaf, and how the layer's input is made from it.
LAYOUTS: dict[str, tuple[tuple[int, ...], Callable[[torch.Tensor], torch.Tensor]]] = {
    "1d": ((IN,), lambda x: x),
    "1d strided": ((IN, 3), lambda x: x[:, 1]),
    "1d of one": ((IN, 1), lambda x: x.t()[0]),
    "2d": ((33, IN), lambda x: x),
    "2d transposed": ((IN, 33), lambda x: x.t()),
    "2d sliced": ((33, 2 * IN), lambda x: x[:, ::2]),
    "2d expanded": ((1, IN), lambda x: x.expand(33, IN)),
    "2d one row": ((1, IN), lambda x: x),
    "2d empty": ((0, IN), lambda x: x),
    "3d": ((5, 11, IN), lambda x: x),
    "3d batch and time swapped": ((11, 5, IN), lambda x: x.transpose(0, 1)),
    "3d features first": ((5, IN, 11), lambda x: x.transpose(1, 2)),
    "3d features outermost": ((IN, 5, 11), lambda x: x.permute(1, 2, 0)),
    "3d sliced": ((5, 11, IN + 9), lambda x: x[..., :IN]),
    "3d expanded": ((1, 11, IN), lambda x: x.expand(5, 11, IN)),
    "3d all ones before": ((IN, 1, 1), lambda x: x.permute(1, 2, 0)),
    "3d batch of one": ((11, 1, IN), lambda x: x.transpose(0, 1)),
    "3d empty": ((5, 0, IN), lambda x: x),
    "4d": ((2, 3, 11, IN), lambda x: x),
    "4d middle swapped": ((2, 11, 3, IN), lambda x: x.transpose(1, 2)),
    "4d outer swapped": ((3, 2, 11, IN), lambda x: x.transpose(0, 1)),
    "4d sliced": ((2, 3, 11, 2 * IN), lambda x: x[..., ::2]),
    "5d": ((2, 1, 3, 5, IN), lambda x: x.transpose(2, 3)),
}
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.complex64]
FROZEN = ["nothing", "weight", "input", "bias", "weight and bias", "all"]


class Problem:
    """One linear, run by either implementation from equal leaves."""

    def __init__(self, layout: str, dtype: torch.dtype, bias: bool, frozen: str, device: str) -> None:
        shape, self.view = LAYOUTS[layout]
        self.x = torch.randn(shape, dtype=dtype).to(device).requires_grad_("input" not in frozen and frozen != "all")
        self.w = torch.randn(OUT, IN, dtype=dtype).to(device).requires_grad_("weight" not in frozen and frozen != "all")
        self.b = None
        if bias:
            self.b = torch.randn(OUT, dtype=dtype).to(device).requires_grad_("bias" not in frozen and frozen != "all")
        self.leaves = [leaf for leaf in (self.x, self.w, self.b) if leaf is not None and leaf.requires_grad]

    def run(self, linear: Callable[..., torch.Tensor], grad_of: str) -> list[torch.Tensor]:
        y = linear(self.view(self.x), self.w, self.b)
        if not self.leaves:
            return [y]
        if grad_of == "dense":
            grad = torch.sin(torch.arange(y.numel(), dtype=torch.float64)).reshape(y.shape).to(y)
        else:
            grad = torch.ones((), dtype=y.dtype).to(y.device).expand(y.shape)
        return [y.detach(), *torch.autograd.grad(y, self.leaves, grad)]


def assert_same(ours: list[torch.Tensor], torchs: list[torch.Tensor], case: object = "") -> None:
    assert len(ours) == len(torchs), case
    for mine, theirs in zip(ours, torchs, strict=True):
        assert mine.dtype == theirs.dtype, case
        assert mine.stride() == theirs.stride(), case
        assert torch.equal(mine.cpu(), theirs.cpu()), case


@pytest.mark.parametrize("layout", LAYOUTS)
def test_output_and_gradients_are_torchs_bit_for_bit(layout: str) -> None:
    # One test a layout: the teardown of a test costs far more than a case does.
    for case in itertools.product(DTYPES, [True, False], FROZEN, ["dense", "sum"]):
        dtype, bias, frozen, grad_of = case
        problem = Problem(layout, dtype, bias, frozen, "cpu")
        assert_same(problem.run(storm_forward, grad_of), problem.run(F.linear, grad_of), case)


@pytest.mark.parametrize("layout", ["1d", "2d", "2d transposed", "3d", "3d features first", "4d middle swapped"])
def test_output_and_gradients_are_torchs_bit_for_bit_on_the_accelerator(layout: str, device: str) -> None:
    for frozen in ("nothing", "weight", "input"):
        problem = Problem(layout, torch.float32, True, frozen, device)
        assert_same(problem.run(storm_forward, "dense"), problem.run(F.linear, "dense"), frozen)


def test_without_gradients_the_output_is_torchs_bit_for_bit() -> None:
    for layout in LAYOUTS:
        problem = Problem(layout, torch.float32, True, "nothing", "cpu")
        x = problem.view(problem.x)
        with torch.no_grad():
            assert torch.equal(storm_forward(x, problem.w, problem.b), F.linear(x, problem.w, problem.b)), layout


WEIGHTS = {
    "transposed": lambda: torch.randn(IN, OUT).t(),
    "every second column": lambda: torch.randn(OUT, 2 * IN)[:, ::2],
    "every second row": lambda: torch.randn(2 * OUT, IN)[::2],
}


@pytest.mark.parametrize("strides", WEIGHTS)
def test_a_weight_of_any_strides_gives_torchs_bits(strides: str) -> None:
    for layout in ("1d", "2d", "2d transposed", "3d", "3d features first", "4d"):
        problem = Problem(layout, torch.float32, True, "nothing", "cpu")
        problem.leaves[1] = problem.w = WEIGHTS[strides]().requires_grad_()
        assert_same(problem.run(storm_forward, "dense"), problem.run(F.linear, "dense"), layout)


def test_a_lazily_conjugated_input_gives_torchs_bits() -> None:
    problem = Problem("2d", torch.complex64, True, "nothing", "cpu")
    problem.view = torch.conj
    assert_same(problem.run(storm_forward, "dense"), problem.run(F.linear, "dense"))


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0)], ids=["no inputs", "no outputs"])
def test_layers_without_inputs_or_outputs_work(sizes: tuple[int, int]) -> None:
    weight = torch.randn(*sizes, requires_grad=True)
    bias = torch.randn(sizes[0], requires_grad=True)
    x = torch.randn(4, sizes[1], requires_grad=True)
    results = []
    for linear in (storm_forward, F.linear):
        y = linear(x, weight, bias)
        results.append([y, *torch.autograd.grad(y.sum(), [x, weight, bias])])
    assert_same(*results)
