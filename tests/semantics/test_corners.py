"""Combinations that have bitten other offloaders: dtype views, NaN payloads, batched gradients, replaced parameters."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor, nn

from ..engine.models import identical, mlp
from .conftest import Storms
from .test_tensors import Keep, through
from .training import Context, loss_of, record, same, train, unchanged, without


@pytest.mark.semantics("dtypes", "one storage saved under two dtypes (view(dtype))")
def test_views_of_another_dtype(device: str, storm_of: Storms) -> None:
    def make() -> list[Tensor]:
        whole = torch.randn(64, 64).to(device)
        return [whole, whole.view(torch.int32), whole.view(torch.bfloat16)[3:, 1::2], whole.view(torch.uint8)]

    storm = storm_of(keep_last_bytes=0)
    saved, returned = through(storm, device, make)
    assert identical(saved, returned)
    assert storm.stats().offloaded_bytes == 64 * 64 * 4


@pytest.mark.semantics("dtypes", "NaN payloads, infinities, minus zero and denormals keep their bits")
def test_every_bit_pattern_comes_back(device: str, storm_of: Storms) -> None:
    def make() -> list[Tensor]:
        bits = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16)
        wide = torch.randint(-(2**31), 2**31 - 1, (4096,), dtype=torch.int32)
        patterns = [bits.view(torch.float16), bits.view(torch.bfloat16), wide.view(torch.float32)]
        return [pattern.to(device) for pattern in patterns]

    saved, returned = through(storm_of(keep_last_bytes=0), device, make)
    assert identical(saved, returned)


@pytest.mark.semantics("views", "complex: a tensor and its conjugate share one host copy")
def test_a_conjugate_shares_the_bytes(device: str, storm_of: Storms) -> None:
    def make() -> list[Tensor]:
        whole = torch.randn(64, 64, dtype=torch.complex64).to(device)
        return [whole, whole.conj(), whole.imag, whole.conj().imag, torch.view_as_real(whole)]

    storm = storm_of(keep_last_bytes=0)
    saved, returned = through(storm, device, make)
    assert identical(saved, returned)
    assert storm.stats().offloaded_bytes == 64 * 64 * 8


@pytest.mark.semantics("backward again", "batched gradients (is_grads_batched): unpacked inside vmap")
def test_batched_gradients(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(32, 32).to(device).requires_grad_()
        with context:
            y = ((x * 1.5).sin() @ (x * 0.5).exp()).tanh().sum(0)
        directions = torch.eye(32).to(device)
        return list(torch.autograd.grad(y, x, directions, is_grads_batched=True))

    unchanged(run, storm_of())


@pytest.mark.parametrize("where", ["inside", "around"])
@pytest.mark.semantics("saved-tensor hooks", "allow_mutation_on_saved_tensors {where} the context")
def test_allowed_mutation(where: str, device: str, storm_of: Storms) -> None:
    """The innermost answers: around the context, the part in the context has torch's usual error."""

    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()
        allow = torch.autograd.graph.allow_mutation_on_saved_tensors()
        with contextlib.ExitStack() as stack:
            if where == "inside":
                with context:
                    first = (x * 2.0).cos()
            stack.enter_context(allow)
            y = x * 1.5
            z = y.sin()
            y.mul_(2.0)
            if where == "around":
                with context:
                    first = (x * 2.0).cos()
            total = z.sum() + y.sum() + first.sum()
            return list(torch.autograd.grad(total, x))

    unchanged(run, storm_of())


@pytest.mark.semantics("parameters", "replaced after the context was made (assign=True): the new ones stay")
def test_replaced_parameters_stay(device: str, storm_of: Storms) -> None:
    model, batch = mlp().to(device), torch.randn(16, 64).to(device)
    storm = storm_of(model, keep_last_bytes=0)
    model.load_state_dict({k: v.detach().clone() for k, v in model.state_dict().items()}, assign=True)
    for parameter in model.parameters():
        parameter.requires_grad_()
    with storm:
        loss = loss_of(model(batch))
    loss.backward()
    stats = storm.stats()
    assert stats.kept_parameter_tensors == 3  # the first layer's input needs no gradient: its weight is not saved
    assert stats.offloaded_bytes <= 6 * batch.nbytes


@pytest.mark.semantics("parameters", "frozen ones stay too when the model is given, 10 steps")
def test_frozen_parameters_stay(device: str, storm_of: Storms) -> None:
    def make() -> tuple[nn.Module, Tensor]:
        model = mlp().to(device)
        for parameter in model[2].parameters():  # type: ignore[index]
            parameter.requires_grad_(False)
        return model, torch.randn(16, 64).to(device)

    def run(model: nn.Module, batch: Tensor, context: Context) -> list[Tensor]:
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
        seen: list[Tensor] = []
        for _ in range(10):
            optimizer.zero_grad()
            with context:
                loss = loss_of(model(batch))
            loss.backward()
            seen += record(model, loss)
            optimizer.step()
        return seen

    plain = without(lambda nothing: run(*make(), nothing))
    torch.manual_seed(0)
    model, batch = make()
    storm = storm_of(model, keep_last_bytes=0)
    same(plain, run(model, batch, storm))
    assert storm.stats().kept_parameter_tensors == 30


@pytest.mark.semantics("parameters", ".data assigned anew before backward: backward sees the new values, as without us")
def test_parameter_data_assigned_anew(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        weight = nn.Parameter(torch.randn(64, 64).to(device))
        x = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            loss = ((x * 1.5) @ weight).sin().sum()
        weight.data = torch.eye(64).to(device)
        return list(torch.autograd.grad(loss, x))

    unchanged(run, storm_of())


@pytest.mark.semantics("parameters", "a model changed to another dtype and back between steps")
def test_a_model_changed_between_steps(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model = mlp().to(device)
        seen: list[Tensor] = []
        for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.float32):
            model.to(dtype)
            model.zero_grad()
            with context:
                loss = loss_of(model(torch.ones(32, 64, dtype=dtype).to(device)))
            loss.backward()
            seen += record(model, loss)
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("in-place", "a tensor kept as one of the last of forward, then changed: torch's own error")
def test_a_change_of_one_of_the_last(device: str, storm_of: Storms) -> None:
    storm = storm_of(keep_last_bytes="64KiB")
    x = torch.randn(64, 64).to(device).requires_grad_()

    def step(change: bool) -> Tensor:
        with storm:
            y = x * 1.5
            loss = (y.sin() * 2.0).exp().sum()
            if change:
                with torch.no_grad():
                    y.add_(1.0)
        return loss

    step(change=False).backward()
    step(change=False).backward()
    assert storm.stats().kept_last_tensors > 0
    with pytest.raises(RuntimeError, match="is at version 1; expected version 0"):
        step(change=True).backward()


@pytest.mark.semantics("graphs", "a saved tensor outlives its graph (held from backward)")
def test_a_fetched_tensor_outlives_its_graph(device: str, storm_of: Storms) -> None:
    storm = storm_of(window_bytes=0, keep_last_bytes=0)
    x = torch.randn(64, 64).to(device).requires_grad_()
    held: list[Tensor] = []
    data = torch.randn(64, 64).to(device)
    expected = data.cpu()
    with storm:
        y = Keep.apply(x * 1.0, held, data)
    del data
    y.sum().backward()
    del y
    for step in range(10):
        with storm:
            loss = (x * float(step)).sin().sum()
        loss.backward()
    assert torch.equal(held[0].cpu(), expected)


@pytest.mark.semantics("graphs", "layers of very different sizes, from 1 KiB to 1 MiB, 20 steps")
def test_sizes_far_apart(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        layers = [nn.Linear(8, 1024), nn.Tanh(), nn.Linear(1024, 8), nn.Tanh(), nn.Linear(8, 512), nn.Tanh()]
        model = nn.Sequential(*layers, nn.Linear(512, 1)).to(device)
        return train(model, torch.randn(256, 8).to(device), context, 20)

    unchanged(run, storm_of())
