"""Networks of a wanted number of parameters in a wanted number of tensors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Size:
    """How many parameters in how many tensors. The network made from it comes close, and rows tell what it has."""

    parameters: float
    tensors: int


class Tower(nn.Module):
    """Square linear layers, half of them weights and half biases.

    Each adds a bounded amount to what passes: neither overflow nor denormal numbers, however many there are.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        count = size.tensors // 2
        self.width = round((math.sqrt(1 + 4 * size.parameters / count) - 1) / 2)
        self.layers = nn.ModuleList(nn.Linear(self.width, self.width) for _ in range(count))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + torch.tanh(layer(x))
        return x


def count(model: nn.Module) -> tuple[int, int]:
    """Parameters, and the tensors they lie in."""
    sizes = [p.numel() for p in model.parameters()]
    return sum(sizes), len(sizes)


def parameter_bytes(model: nn.Module) -> int:
    """Bytes of one copy."""
    return sum(p.nbytes for p in model.parameters())
