"""The operator as torch sees it: checked, differentiable twice, traceable, castable, and frugal."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

import pamiq_storm.nn
from tests.races.observe import racing

storm_forward = torch.ops.pamiq_storm.storm_forward


def leaves(
    *shape: int, dtype: torch.dtype = torch.float64, out: int = 3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x = torch.randn(*shape, dtype=dtype, requires_grad=True)
    weight = torch.randn(out, shape[-1], dtype=dtype, requires_grad=True)
    return x, weight, torch.randn(out, dtype=dtype, requires_grad=True)


SHAPES = [(4,), (2, 4), (2, 3, 4), (2, 1, 3, 4)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_first_and_second_derivatives_are_right(shape: tuple[int, ...], bias: bool, dtype: torch.dtype) -> None:
    arguments = leaves(*shape, dtype=dtype)[: 3 if bias else 2]
    assert gradcheck(storm_forward, arguments)
    assert gradgradcheck(storm_forward, arguments)


def test_derivatives_are_right_for_inputs_that_are_not_contiguous() -> None:
    x, weight, bias = leaves(2, 3, 4)
    assert gradcheck(lambda x, w, b: storm_forward(x.transpose(0, 1), w, b), (x, weight, bias))
    assert gradgradcheck(lambda x, w, b: storm_forward(x.transpose(0, 1), w, b), (x, weight, bias))
    assert gradgradcheck(lambda x, b: storm_forward(x.transpose(0, 1), weight.detach(), b), (x, bias))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("shape", [*SHAPES, (0, 4)], ids=str)
def test_the_operator_passes_torchs_own_checks(shape: tuple[int, ...], bias: bool) -> None:
    arguments = leaves(*shape, dtype=torch.float32)[: 3 if bias else 2]
    torch.library.opcheck(storm_forward, arguments)
    torch.library.opcheck(storm_forward, tuple(argument.detach() for argument in arguments))


def test_the_operator_passes_torchs_own_checks_when_not_contiguous_or_frozen() -> None:
    x, weight, bias = leaves(2, 3, 4, dtype=torch.float32)
    torch.library.opcheck(storm_forward, (x.detach().transpose(0, 1).requires_grad_(), weight, bias))
    torch.library.opcheck(storm_forward, (x.detach().transpose(0, 1).requires_grad_(), weight.detach(), bias))
    torch.library.opcheck(storm_forward, (x.detach(), weight, bias), {"layer_id": 3})


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_a_layer_compiles_into_one_graph(dynamic: bool) -> None:
    layer = pamiq_storm.nn.StormLayer(4, 3)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    for rows in (5, 7):
        x = torch.randn(rows, 4, requires_grad=True)
        expected = torch.autograd.grad(layer(x).square().sum(), [x, layer.weight, layer.bias])
        found = torch.autograd.grad(compiled(x).square().sum(), [x, layer.weight, layer.bias])
        torch.testing.assert_close(found, expected)


def test_a_compiled_graph_holds_the_operator() -> None:
    seen: list[str] = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    layer = pamiq_storm.nn.StormLayer(4, 3, 2)
    torch.compile(layer, backend=backend, fullgraph=True)(torch.randn(2, 4))
    assert "pamiq_storm.storm_forward.default" in seen


def test_shapes_are_known_without_numbers() -> None:
    y = storm_forward(*(torch.empty(s, device="meta") for s in ((2, 5, 4), (3, 4), (3,))))
    assert y.shape == (2, 5, 3)
    assert y.device.type == "meta"


@pytest.mark.parametrize(
    ("shapes", "sentence"),
    [
        (((2, 5), (3, 4), (3,)), "the input's last dimension is not the weight's in_features"),
        (((), (3, 4), (3,)), r"needs an input of shape \(\.\.\., in_features\)"),
        (((2, 4), (4,), (3,)), r"needs a weight of shape \(out_features, in_features\)"),
        (((2, 4), (3, 4), (4,)), "the bias is not as long as the weight's out_features"),
        (((2, 4), (3, 4), (1, 3)), r"needs a bias of shape \(out_features\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes: tuple[tuple[int, ...], ...], sentence: str) -> None:
    with pytest.raises(RuntimeError, match=sentence) as caught:
        storm_forward(*(torch.randn(shape) for shape in shapes))
    for name, shape in zip(("input", "weight", "bias"), shapes, strict=True):
        assert f"{name} {list(shape)} Float on cpu" in str(caught.value)


def test_dtypes_that_do_not_fit_are_named() -> None:
    with pytest.raises(RuntimeError, match=r"needs one dtype; got input \[2, 4\] Double on cpu, weight \[3, 4\] Float"):
        storm_forward(torch.randn(2, 4, dtype=torch.float64), torch.randn(3, 4))
    with pytest.raises(RuntimeError, match="floating-point or complex"):
        storm_forward(torch.ones(2, 4, dtype=torch.int64), torch.ones(3, 4, dtype=torch.int64))


def test_devices_that_do_not_fit_are_named(device: str) -> None:
    with pytest.raises(
        RuntimeError, match=r"on one device; got input \[2, 4\] Float on cpu, weight .* on " + device + ":0"
    ):
        storm_forward(torch.randn(2, 4), torch.randn(3, 4, device=device))


def test_autocast_computes_in_low_precision_as_linear_does() -> None:
    x, weight, bias = leaves(5, 4, dtype=torch.float32)
    results = []
    for linear in (storm_forward, F.linear):
        with torch.autocast("cpu", torch.bfloat16):
            y = linear(x, weight, bias)
        results.append([y, *torch.autograd.grad(y.float().square().sum(), [x, weight, bias])])
    ours, torchs = results
    assert ours[0].dtype == torch.bfloat16
    for mine, theirs in zip(ours, torchs, strict=True):
        assert mine.dtype == theirs.dtype
        assert torch.equal(mine, theirs)


def test_autocast_casts_on_the_accelerator_too(device: str) -> None:
    x, weight, bias = (t.detach().to(device).requires_grad_() for t in leaves(5, 4, dtype=torch.float32))
    with torch.autocast(device, torch.bfloat16):
        y, expected = storm_forward(x, weight, bias), F.linear(x, weight, bias)
    assert y.dtype == torch.bfloat16
    assert torch.equal(y.cpu(), expected.cpu())


def test_torch_func_transforms_see_torchs_linear() -> None:
    x, weight, bias = (t.detach() for t in leaves(5, 4))

    def gradients(linear: Callable[..., torch.Tensor]) -> torch.Tensor:
        return torch.func.grad(lambda w: linear(x, w, bias).sin().sum())(weight)

    def per_sample(linear: Callable[..., torch.Tensor]) -> torch.Tensor:
        one = torch.func.grad(lambda w, row: linear(row, w, bias).sin().sum())
        return torch.func.vmap(one, in_dims=(None, 0))(weight, x)

    def tangents(linear: Callable[..., torch.Tensor]) -> torch.Tensor:
        return torch.func.jvp(lambda w: linear(x, w, bias).sin(), (weight,), (weight.cos(),))[1]

    for transform in (gradients, per_sample, tangents):
        assert torch.equal(transform(storm_forward), transform(F.linear))


def test_after_a_transform_the_operator_differentiates_itself_again() -> None:
    x, weight, bias = leaves(5, 4)
    torch.func.grad(lambda w: storm_forward(x.detach(), w, None).sum())(weight.detach())
    node = storm_forward(x, weight, bias).grad_fn
    assert node is not None
    assert "StormForwardFunction" in node.name()


def test_forward_mode_derivatives_are_torchs() -> None:
    x, weight, bias = leaves(5, 4)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x.detach().cos())
        ours, torchs = (
            torch.autograd.forward_ad.unpack_dual(linear(dual, weight, bias)).tangent
            for linear in (storm_forward, F.linear)
        )
    assert ours is not None
    assert torchs is not None
    assert torch.equal(ours, torchs)


def test_nested_tensors_are_left_to_torch() -> None:
    nested = torch.nested.nested_tensor([torch.randn(2, 4), torch.randn(3, 4)])
    _, weight, bias = leaves(1, 4, dtype=torch.float32)
    ours, torchs = storm_forward(nested, weight, bias), F.linear(nested, weight, bias)
    for mine, theirs in zip(ours.unbind(), torchs.unbind(), strict=True):
        assert torch.equal(mine, theirs)


def saved_shapes(*arguments: torch.Tensor) -> list[tuple[int, ...]]:
    saved: list[tuple[int, ...]] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        storm_forward(*arguments)
    return saved


def test_only_what_some_gradient_needs_is_saved() -> None:
    x, weight, bias = leaves(5, 4)
    assert saved_shapes(x, weight, bias) == [(5, 4), (3, 4)]
    assert saved_shapes(x, weight.detach(), bias) == [(3, 4)]
    assert saved_shapes(x.detach(), weight, bias) == [(5, 4)]
    assert saved_shapes(x.detach(), weight.detach(), bias) == []
    assert saved_shapes(x.detach(), weight.detach(), bias.detach()) == []
    with torch.no_grad():
        assert saved_shapes(x, weight, bias) == []


def test_only_the_gradients_asked_for_are_computed() -> None:
    x, weight, bias = leaves(5, 4)
    y = storm_forward(x, weight, bias).sum()
    with torch.profiler.profile() as profile:
        torch.autograd.grad(y, [bias])
    names = [event.key for event in profile.key_averages()]
    assert "aten::sum" in names
    assert "aten::mm" not in names


def test_the_output_is_fresh() -> None:
    x, weight, bias = leaves(5, 4)
    y = storm_forward(x, weight, bias)
    assert y.untyped_storage().data_ptr() not in {t.untyped_storage().data_ptr() for t in (x, weight, bias)}
    assert not y._is_view()
    y.mul_(2)  # in place on an output that nothing saved
    y.sum().backward()


def test_a_graph_can_be_used_twice() -> None:
    x, weight, bias = leaves(5, 4)
    loss = storm_forward(x, weight, bias).square().sum()
    first = torch.autograd.grad(loss, [x, weight, bias], retain_graph=True)
    second = torch.autograd.grad(loss, [x, weight, bias])
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, [x])


def test_an_input_changed_in_place_is_torchs_error(any_device: str) -> None:
    x = torch.randn(300, 400).to(any_device)
    weight = torch.randn(3, 400).to(any_device).requires_grad_()
    y = storm_forward(x, weight)
    with racing():  # with the copy, whose result nobody will get
        x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_an_unused_output_gives_no_gradient() -> None:
    x, weight, bias = leaves(5, 4)
    y = storm_forward(x, weight, bias)
    assert torch.autograd.grad(y.detach().sum() + x.sum(), [weight], allow_unused=True) == (None,)
