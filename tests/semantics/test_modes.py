"""Modes of torch: gradients off, inference, autocast, anomaly detection."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..engine.models import Attention, mlp
from .conftest import Storms
from .training import STEPS, Context, loss_of, record, train, unchanged

GRADIENTS_OFF = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled(False)": lambda: torch.set_grad_enabled(False),
}


@pytest.mark.parametrize("mode", GRADIENTS_OFF)
@pytest.mark.semantics("modes", "{mode} inside the context: nothing is saved", moves=False)
def test_without_gradients_nothing_is_saved(mode: str, device: str, storm_of: Storms) -> None:
    model, batch = mlp().to(device), torch.randn(32, 64).to(device)
    storm = storm_of(model)
    expected = model(batch).detach().cpu()
    with storm, GRADIENTS_OFF[mode]():
        assert torch.equal(model(batch).cpu(), expected)
    with GRADIENTS_OFF[mode](), storm:
        assert torch.equal(model(batch).cpu(), expected)
    stats = storm.stats()
    assert (stats.offloaded_tensors, stats.kept_tensors, stats.shared_tensors) == (0, 0, 0)


@pytest.mark.parametrize("mode", GRADIENTS_OFF)
@pytest.mark.semantics("modes", "{mode} for a part of the forward, 50 steps")
def test_a_part_without_gradients(mode: str, device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        teacher, student = mlp().to(device), mlp().to(device)
        batch = torch.randn(32, 64).to(device)
        optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
        seen: list[Tensor] = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            with context:
                with GRADIENTS_OFF[mode]():
                    target = teacher(batch)
                loss = F.mse_loss(student(batch), target.clone())
            loss.backward()
            seen += record(student, loss)
            optimizer.step()
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("modes", "enable_grad inside no_grad inside the context")
def test_gradients_switched_on_again(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), torch.randn(32, 64).to(device)
        with context, torch.no_grad():
            first = model(batch)
            with torch.enable_grad():
                loss = loss_of(model(first))
        loss.backward()
        return record(model, loss)

    unchanged(run, storm_of())


@pytest.mark.semantics("modes", "an inference tensor saved for backward is torch's own error", moves=False)
def test_inference_tensors_are_refused_by_torch(device: str, storm_of: Storms) -> None:
    with torch.inference_mode():
        data = torch.randn(64, 64).to(device)
    x = torch.randn(64, 64).to(device).requires_grad_()

    def error(context: Context) -> str:
        with pytest.raises(RuntimeError) as caught, context:
            (x * data).sum().backward()
        return str(caught.value)

    plain = error(torch.enable_grad())
    assert "Inference tensors cannot be saved for backward" in plain
    assert error(storm_of()) == plain


@pytest.mark.semantics("modes", "train and eval forwards in turn, 50 steps")
def test_evaluation_between_the_steps(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = Attention().to(device), torch.randint(0, 64, (4, 16)).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        seen: list[Tensor] = []
        for _ in range(STEPS):
            model.eval()
            with context, torch.no_grad():
                seen.append(loss_of(model(batch)).cpu())
            model.train()
            optimizer.zero_grad()
            with context:
                loss = loss_of(model(batch))
            loss.backward()
            seen += record(model, loss)
            optimizer.step()
        return seen

    unchanged(run, storm_of())


LOW_PRECISION = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast_steps(device: str, dtype: str, outside: bool, context: Context) -> list[Tensor]:
    """50 steps of a model under autocast, scaled where the dtype needs it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)).to(device)
    batch = torch.randn(64, 64).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler(device, init_scale=2.0**10, growth_interval=8, enabled=dtype == "fp16")
    autocast = torch.autocast(device, dtype=LOW_PRECISION[dtype])
    seen: list[Tensor] = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        first, second = (context, autocast) if outside else (autocast, context)
        with first, second:
            output = model(batch)
            loss = loss_of(output)
        assert output.dtype == LOW_PRECISION[dtype]
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        seen += record(model, loss)
    return [*seen, torch.tensor(scaler.get_scale()), *(p.detach().cpu() for p in model.parameters())]


@pytest.mark.parametrize("where", ["autocast inside the context", "the context inside autocast"])
@pytest.mark.parametrize("dtype", LOW_PRECISION)
@pytest.mark.semantics("autocast", "{dtype}, {where} (fp16 with GradScaler), 50 steps")
def test_autocast_trains_the_same(dtype: str, where: str, device: str, storm_of: Storms) -> None:
    outside = where.startswith("autocast")
    unchanged(lambda context: autocast_steps(device, dtype, outside, context), storm_of())


@pytest.mark.parametrize("given", ["with the model", "without a model"])
@pytest.mark.parametrize("dtype", LOW_PRECISION)
@pytest.mark.semantics("autocast", "{dtype}: cached copies of weights stay, counted as parameters ({given})")
def test_autocasts_copies_of_weights_stay(dtype: str, given: str, device: str, storm_of: Storms) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64, bias=False), nn.Tanh(), nn.Linear(64, 64, bias=False)).to(device)
    batch = torch.randn(16, 64).to(device).requires_grad_()  # 2 KiB in low precision; a weight's copy is 8 KiB
    storm = storm_of(model if given == "with the model" else None, keep_last_bytes=0)
    for step in range(3):
        with storm, torch.autocast(device, dtype=LOW_PRECISION[dtype]):
            loss = loss_of(model(batch))
        loss.backward()
        stats = storm.stats()
        assert stats.kept_parameter_tensors >= 2 * (step + 1)
    moved = {64 * 16 * size for size in (2, 4)}
    assert stats.offloaded_bytes <= 3 * 4 * max(moved), "a weight's copy was moved"


@pytest.mark.semantics("autocast", "custom_fwd and custom_bwd in a custom Function, 50 steps")
def test_custom_functions_under_autocast(device: str, storm_of: Storms) -> None:
    class Product(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type=device)
        def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:  # type: ignore[override]
            ctx.save_for_backward(x, weight)
            return x @ weight

        @staticmethod
        @torch.amp.custom_bwd(device_type=device)
        def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            x, weight = ctx.saved_tensors
            return grad @ weight.t(), x.t() @ grad

    class Layer(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            return Product.apply(input, self.weight.t())

    def run(context: Context) -> list[Tensor]:
        model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), Layer(64, 64)).to(device)
        with torch.autocast(device, dtype=torch.bfloat16):
            return train(model, torch.randn(32, 64).to(device), context)

    unchanged(run, storm_of())


@pytest.mark.semantics("anomaly mode", "set_detect_anomaly changes no bits")
def test_anomaly_mode_changes_no_bits(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        with warnings.catch_warnings(), torch.autograd.set_detect_anomaly(True):
            warnings.simplefilter("ignore")
            return train(mlp().to(device), torch.randn(32, 64).to(device), context, 5)

    unchanged(run, storm_of())


@pytest.mark.semantics("anomaly mode", "a NaN in backward is reported with the forward's traceback")
def test_anomaly_mode_names_the_function(device: str, storm_of: Storms) -> None:
    x = torch.zeros(64, 64).to(device).requires_grad_()

    def report(context: Context) -> tuple[str, list[str]]:
        with warnings.catch_warnings(record=True) as caught, torch.autograd.set_detect_anomaly(True):
            warnings.simplefilter("always")
            with context:
                loss = (x * 1.0).sqrt().mul(0.0).sum()
            with pytest.raises(RuntimeError) as error:
                loss.backward()
        return str(error.value), [str(w.message) for w in caught if "Traceback of forward call" in str(w.message)]

    plain, traces = report(torch.enable_grad())
    assert "SqrtBackward0" in plain or "MulBackward0" in plain
    assert len(traces) == 1
    ours = report(storm_of())
    assert ours[0] == plain
    assert len(ours[1]) == 1


@pytest.mark.semantics("anomaly mode", "an in-place error is reported with the forward's traceback")
def test_anomaly_mode_traces_an_in_place_error(device: str, storm_of: Storms) -> None:
    x = torch.randn(64, 64).to(device).requires_grad_()
    with warnings.catch_warnings(record=True) as caught, torch.autograd.set_detect_anomaly(True):
        warnings.simplefilter("always")
        with storm_of():
            y = x * 1.0
            loss = y.sin().sum()
            with torch.no_grad():
                y.add_(1.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
    assert any("SinBackward0" in str(w.message) for w in caught)
