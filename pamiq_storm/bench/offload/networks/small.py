"""W3: many small tensors. The device is done with each before the host has issued the next."""

from __future__ import annotations

from torch import Tensor, nn


class SmallBlock(nn.Module):
    """A narrow residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width)
        self.down = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.up(self.norm(x)).tanh()).sigmoid()


class SmallTensors(nn.Module):
    """Deep and narrow. Gives `[rows, classes]`."""

    def __init__(self, layers: int, width: int, classes: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(SmallBlock(width) for _ in range(layers))
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.output(x)
