"""Models and steps that the tests of live models share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pamiq_storm.torch import TorchTrainingModel

X = torch.linspace(-1, 1, 12).view(3, 4)


class Net(nn.Module):
    """Parameters, buffers, submodules in modes of their own, a module without tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Same(nn.Module):
    """All its numbers are the same in any one version."""

    def __init__(self, tensors: int = 16, items: int = 64) -> None:
        super().__init__()
        self.numbers = nn.ParameterList(torch.zeros(items) for _ in range(tensors))
        self.register_buffer("count", torch.zeros(()))

    @torch.no_grad()
    def set(self, value: float) -> None:
        for number in self.numbers:
            number.fill_(value)
        self.count.fill_(value)

    def forward(self) -> tuple[float, float]:
        """The smallest and the greatest number."""
        every = torch.cat([*self.numbers, self.count.view(1)])
        return every.min().item(), every.max().item()


class Scaled(nn.Module):
    """A plain attribute decides what comes out."""

    def __init__(self, scale: object = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight * self.scale


def step(model: TorchTrainingModel, x: Tensor = X) -> None:
    """One step of plain gradient descent."""
    for parameter in model.model.parameters():
        parameter.grad = None
    model(x).sum().backward()
    with torch.no_grad():
        for parameter in model.model.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=0.01)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Each submodule gets its own mode back."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes:
            child.training = mode


def expected(model: TorchTrainingModel, x: Tensor = X) -> Tensor:
    """What the training side computes now, in eval mode."""
    with evaluating(model.model), torch.no_grad():
        return model.model(x)


def assert_serves(model: TorchTrainingModel, x: Tensor = X) -> None:
    """Inference gives exactly what the training side would in eval mode."""
    torch.testing.assert_close(model.inference_model.infer(x), expected(model, x), rtol=0, atol=0)


def storage_bytes(*modules: nn.Module) -> int:
    """Bytes of the distinct pieces of memory."""
    found = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(found.values())
