"""Kinds of models: 50 optimizer steps with offload give the bits that 50 steps without it give."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..engine.models import Attention, cnn, mlp
from .conftest import Storms
from .training import Context, same, train, unchanged, without


class UNet(nn.Module):
    """Two levels, whose skips are saved long before they are used."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)])
        self.middle = nn.Conv2d(8, 8, 3, padding=1)
        self.up = nn.ModuleList([nn.Conv2d(16, 8, 3, padding=1), nn.Conv2d(16, 3, 3, padding=1)])

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level in self.down:
            x = F.silu(level(x))
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = torch.relu(self.middle(x))
        for level in self.up:
            x = F.interpolate(x, scale_factor=2.0)
            x = level(torch.cat([x, skips.pop()], dim=1))
        return x


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.cells = kind(16, 32, num_layers=2, batch_first=True)
        self.head = nn.Linear(32, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cells(x)[0])


class Twice(nn.Module):
    """One layer, called at three places."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(torch.tanh(self.layer(x))))


class TiedEnds(nn.Module):
    """An autoencoder whose decoder is its encoder's weight, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(64, 32)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.encoder(x)), self.encoder.weight.t())


class Branches(nn.Module):
    """Which layers run depends on the step: no two graphs in a row are alike."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(5))
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        for index, layer in enumerate(self.layers):
            if (self.calls >> index) % 2 == 0 or index == 0:
                x = torch.tanh(layer(x))
        return x


def sequence() -> Tensor:
    return torch.randn(8, 6, 16)


def rows() -> Tensor:
    return torch.randn(32, 64)


def images() -> Tensor:
    return torch.randn(4, 3, 16, 16)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "MLP": (mlp, rows),
    "CNN with batch norm": (cnn, images),
    "U-Net with skips": (UNet, images),
    "channels-last CNN": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Conv2d(8, 8, 3)).to(memory_format=torch.channels_last),
        lambda: images().to(memory_format=torch.channels_last),
    ),
    "transformer (fused attention, tied head)": (Attention, lambda: torch.randint(0, 64, (4, 16))),
    "nn.TransformerEncoderLayer with dropout": (
        lambda: nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True),
        lambda: torch.randn(4, 12, 32),
    ),
    "nn.RNN": (lambda: Recurrent(nn.RNN), sequence),
    "nn.LSTM": (lambda: Recurrent(nn.LSTM), sequence),
    "nn.GRU": (lambda: Recurrent(nn.GRU), sequence),
    "dropout": (
        lambda: nn.Sequential(nn.Linear(64, 64), nn.Dropout(0.5), nn.Linear(64, 64), nn.AlphaDropout(0.1)),
        rows,
    ),
    "tied weights": (TiedEnds, rows),
    "a layer used three times": (Twice, rows),
    "layers chosen anew each step": (Branches, rows),
    "norms (layer, group, RMS, instance)": (
        lambda: nn.Sequential(
            nn.GroupNorm(1, 3), nn.InstanceNorm2d(3, affine=True), nn.Flatten(), nn.LayerNorm(768), nn.RMSNorm(768)
        ),
        images,
    ),
}


def make(name: str, device: str) -> tuple[nn.Module, Tensor]:
    make_model, make_batch = MODELS[name]
    model = make_model().to(device)
    return model, make_batch().to(device)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.semantics("models", "{name}")
def test_fifty_steps_are_the_same_bit_for_bit(name: str, device: str, storm_of: Storms) -> None:
    plain = without(lambda nothing: train(*make(name, device), nothing))
    torch.manual_seed(0)
    model, batch = make(name, device)
    same(plain, train(model, batch, storm_of(model)))


@pytest.mark.parametrize("name", ["MLP", "U-Net with skips", "nn.LSTM"])
@pytest.mark.semantics("models", "{name}, no window, nothing brought back ahead")
def test_with_every_fetch_late_the_bits_are_the_same(name: str, device: str, storm_of: Storms) -> None:
    storm = storm_of(window_bytes=0, prefetch_bytes=0, keep_last_bytes=0)
    unchanged(lambda context: train(*make(name, device), context), storm)
    stats = storm.stats()
    assert stats.late_fetches > 0
    assert stats.fetched_bytes > 0


@pytest.mark.parametrize(
    "name", ["relu", "sigmoid", "tanh", "softmax", "log_softmax", "exp", "sqrt", "rsqrt", "reciprocal", "elu", "silu"]
)
@pytest.mark.semantics("saved outputs", "an operation that saves its own output: {name}")
def test_an_operations_own_output_comes_back(name: str, device: str, storm_of: Storms) -> None:
    operation = {"softmax": lambda x: x.softmax(-1), "log_softmax": lambda x: x.log_softmax(-1), "elu": F.elu}.get(
        name, getattr(torch, name, getattr(F, name, None))
    )

    def run(context: Context) -> list[Tensor]:
        x = (torch.rand(32, 32) + 0.5).to(device).requires_grad_()
        weight = torch.randn(32, 32).to(device)
        with context:
            y = operation(x * 1.0)
            loss = (operation(y.abs() + 0.5) * weight).sum()
        return [loss, *torch.autograd.grad(loss, x)]

    unchanged(run, storm_of())


@pytest.mark.parametrize("name", ["relu_", "sigmoid_", "tanh_", "exp_", "mul_", "leaky_relu_"])
@pytest.mark.semantics("saved outputs", "in-place operation: {name}")
def test_an_operation_in_place_saves_what_it_wrote(name: str, device: str, storm_of: Storms) -> None:
    in_place = {
        "mul_": lambda y: y.mul_(y.detach().clone()),
        "leaky_relu_": lambda y: F.leaky_relu_(y, 0.2),
    }.get(name, getattr(torch, name, None))

    def run(context: Context) -> list[Tensor]:
        x = torch.randn(32, 32).to(device).requires_grad_()
        with context:
            y = x * 2.0
            z = in_place(y)
            loss = (z * z).sum()
        return [loss, z, *torch.autograd.grad(loss, x)]

    unchanged(run, storm_of())


@pytest.mark.semantics("saved outputs", "nn.ReLU(inplace=True) between layers, 50 steps")
def test_in_place_activations_train_the_same(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(inplace=True), nn.Linear(64, 64), nn.ReLU(inplace=True))
        return train(model.to(device), rows().to(device), context)

    unchanged(run, storm_of())
