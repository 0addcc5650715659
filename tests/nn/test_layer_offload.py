"""On an accelerator the layers' activations leave the device; each fault of the first prototype has its test here."""

import gc
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import pamiq_storm
from pamiq_storm import _C
from pamiq_storm.nn import StormLayer, StormModel, convert

MIB = 1 << 20
ROWS = 65536  # times 64 features of 4 bytes: 16 MiB an activation


@pytest.fixture(autouse=True)
def fresh_engine(device: str) -> Iterator[None]:
    """A default engine of this test's own, so that its counts and what it has learned are too."""
    _C.release_default_contexts()
    yield
    torch.accelerator.synchronize()
    gc.collect()
    _C.default_system(torch.device(device, 0)).check_invariants()


def stats() -> dict[str, int]:
    accelerator = torch.accelerator.current_accelerator()
    assert accelerator is not None
    return _C.default_system(torch.device(accelerator.type, 0)).stats()


def gradients(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    loss = model(x).square().mean()
    return [g.cpu() for g in torch.autograd.grad(loss, list(model.parameters()))]


def peak_of_a_step(model: nn.Module, x: torch.Tensor) -> int:
    torch.accelerator.synchronize()
    before = torch.accelerator.memory_allocated()
    torch.accelerator.reset_peak_memory_stats()
    model(x).sum().backward()
    torch.accelerator.synchronize()
    model.zero_grad()
    return torch.accelerator.max_memory_allocated() - before


def test_the_inputs_of_layers_leave_the_device_and_gradients_are_the_same(device: str) -> None:
    plain = nn.Sequential(*(nn.Linear(64, 64) for _ in range(4))).to(device)
    x = torch.randn(4096, 64).to(device)
    expected = gradients(plain, x)
    found = gradients(convert(plain), x)
    assert stats()["offloaded_tensors"] == 4
    assert stats()["offloaded_bytes"] == 4 * x.numel() * 4
    assert stats()["kept_parameter_tensors"] == 3  # the first layer's input needs no gradient: its weight is not saved
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_input_is_not_also_held_on_the_device(device: str) -> None:
    layers = nn.Sequential(*(nn.Linear(64, 64) for _ in range(24))).to(device)
    x = torch.randn(ROWS, 64).to(device)
    without = peak_of_a_step(layers, x)
    with_storm = peak_of_a_step(convert(layers), x)
    assert without >= 23 * 16 * MIB
    assert with_storm < 0.7 * without


def test_a_model_offloads_what_its_activations_save_too(device: str) -> None:
    model = StormModel(64, 64, 64, device=device)
    model(torch.randn(4096, 64).to(device)).sum().backward()
    assert stats()["offloaded_tensors"] == 3
    assert stats()["shared_tensors"] == 2  # each ReLU's output is the next layer's input: moved once


def test_a_cxx_model_offloads_the_same(device: str) -> None:
    model = _C.StormModel(64, 64, 64, device=torch.device(device))
    model(torch.randn(4096, 64).to(device)).sum().backward()
    assert (stats()["offloaded_tensors"], stats()["shared_tensors"]) == (3, 2)


def test_a_buffer_is_not_reused_while_its_copy_runs(device: str, slow_link: None) -> None:
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(6))).to(device)
    x = torch.randn(16384, 64).to(device)
    expected = gradients(model, x)
    convert(model)
    for _ in range(3):
        found = gradients(model, x)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_graph_dropped_in_mid_copy_leaves_the_next_one_right(device: str, slow_link: None) -> None:
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(4))).to(device)
    x = torch.randn(16384, 64).to(device)
    expected = gradients(model, x)
    convert(model)
    for _ in range(3):
        model(x + 1)  # never differentiated
    assert all(torch.equal(a, b) for a, b in zip(gradients(model, x), expected, strict=True))


@pytest.mark.parametrize("shape", [(65536,), (512, 256), (8, 64, 256), (2, 8, 32, 256)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_any_dtype_and_shape_comes_back_bit_for_bit(dtype: torch.dtype, shape: tuple[int, ...], device: str) -> None:
    linear = nn.Linear(shape[-1], 8, dtype=dtype).to(device)
    x = torch.randn(shape, dtype=dtype).to(device)
    expected = gradients(linear, x)
    found = gradients(convert(linear), x)
    assert stats()["offloaded_tensors"] == 1
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_layers_of_one_number_do_not_mix_up_their_activations(device: str) -> None:
    model = nn.Sequential(StormLayer(64, 64, 5), StormLayer(64, 64, 5), StormLayer(64, 64)).to(device)
    plain = nn.Sequential(*(nn.Linear(64, 64) for _ in range(3))).to(device)
    plain.load_state_dict(model.state_dict())
    x = torch.randn(4096, 64).to(device)
    for found, expected in zip(gradients(model, x), gradients(plain, x), strict=True):
        assert torch.equal(found, expected)


def test_a_layer_used_twice_and_two_graphs_in_flight_are_right(device: str) -> None:
    layer = StormLayer(64, 64, 0, device=device)
    x, other = torch.randn(4096, 64).to(device), torch.randn(4096, 64).to(device)

    def loss_of(data: torch.Tensor, storm: bool) -> torch.Tensor:
        call = layer if storm else lambda t: F.linear(t, layer.weight, layer.bias)
        return call(call(data)).square().mean()

    parameters = list(layer.parameters())
    expected = [torch.autograd.grad(loss_of(data, storm=False), parameters) for data in (x, other)]
    first, second = loss_of(x, storm=True), loss_of(other, storm=True)
    found = [torch.autograd.grad(first, parameters), torch.autograd.grad(second, parameters)]
    for ours, torchs in zip(found, expected, strict=True):
        assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(ours, torchs, strict=True))


def test_a_retained_graph_fetches_again(device: str) -> None:
    layer = StormLayer(64, 64, 0, device=device)
    loss = layer(torch.randn(4096, 64).to(device)).square().mean()
    first = torch.autograd.grad(loss, [layer.weight], retain_graph=True)[0].cpu()
    assert torch.equal(torch.autograd.grad(loss, [layer.weight])[0].cpu(), first)


def test_second_derivatives_pass_through_an_offloaded_input(device: str) -> None:
    x = torch.randn(512, 64)
    weight = torch.randn(8, 64)

    def second(call: Callable[..., torch.Tensor], device: str) -> torch.Tensor:
        data, w = x.to(device).requires_grad_(), weight.to(device).requires_grad_()
        y = call((data * 2).sin(), w)  # not a leaf, so that it is offloaded
        (grad,) = torch.autograd.grad(y.square().sum(), [w], create_graph=True)
        return torch.autograd.grad(grad.square().sum(), [data])[0].cpu()

    found = second(torch.ops.pamiq_storm.storm_forward, device)
    assert stats()["offloaded_tensors"] > 0
    assert torch.equal(found, second(F.linear, device))


def test_an_offload_context_around_the_layer_decides(device: str) -> None:
    layer = StormLayer(64, 64, 0, device=device)
    storm = pamiq_storm.offload(layer)
    with storm:
        loss = layer(torch.randn(4096, 64).to(device)).sum()
    loss.backward()
    assert storm.stats().offloaded_tensors == 1
    assert stats()["offloaded_tensors"] == 0


def test_hooks_of_the_user_and_bans_on_hooks_win(device: str) -> None:
    layer = StormLayer(64, 64, 0, device=device)
    x = torch.randn(4096, 64).to(device)
    seen: list[torch.Size] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (seen.append(t.shape), t)[1], lambda t: t):
        layer(x).sum().backward()
    with torch.autograd.graph.disable_saved_tensors_hooks("not here"):
        layer(x).sum().backward()
    assert seen == [x.shape]
    assert stats()["offloaded_tensors"] == 0


def test_without_gradients_no_engine_moves_anything(device: str) -> None:
    layer = StormLayer(64, 64, 0, device=device)
    with torch.no_grad():
        layer(torch.randn(4096, 64).to(device))
    assert stats()["offloaded_tensors"] == 0


def test_nothing_is_printed(device: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = StormModel(64, 64, 64, device=device)
    model(torch.randn(4096, 64).to(device)).sum().backward()
    with pytest.raises(RuntimeError):
        model(torch.randn(4096, 63).to(device))
    torch.accelerator.synchronize()
    assert capfd.readouterr() == ("", "")
