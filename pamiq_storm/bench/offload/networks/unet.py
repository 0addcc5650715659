"""A U-Net of convolutions and group norms: wide early tensors that backward needs last."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 32


class ResidualBlock(nn.Module):
    """Two normed convolutions beside a residual path."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        return self.skip(x) + self.conv2(F.silu(self.norm2(y)))


class UNet(nn.Module):
    """From an image to one of the same shape; each level halves the sides and has its own width."""

    def __init__(self, channels: int, widths: Sequence[int], depth: int, groups: int = GROUPS) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        skips, width = [widths[0]], widths[0]
        for level, wide in enumerate(widths):
            for _ in range(depth):
                self.down.append(ResidualBlock(width, wide, groups))
                width = wide
                skips.append(width)
            if level < len(widths) - 1:
                self.shrink.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
        self.middle = ResidualBlock(width, width, groups)
        for level, wide in reversed(list(enumerate(widths))):
            for _ in range(depth + 1):
                self.up.append(ResidualBlock(width + skips.pop(), wide, groups))
                width = wide
            if level > 0:
                self.grow.append(nn.Conv2d(width, width, 3, padding=1))
        self.norm = nn.GroupNorm(groups, width)
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        self.depth = depth

    @property
    def blocks(self) -> list[nn.Module]:
        """What checkpointing recomputes one at a time."""
        return [*self.down, self.middle, *self.up]

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        skips = [x]
        for index, block in enumerate(self.down):
            x = block(x)
            skips.append(x)
            if (index + 1) % self.depth == 0 and index + 1 < len(self.down):
                x = self.shrink[index // self.depth](x)
                skips.append(x)
        x = self.middle(x)
        for index, block in enumerate(self.up):
            x = block(torch.cat((x, skips.pop()), dim=1))
            if (index + 1) % (self.depth + 1) == 0 and index + 1 < len(self.up):
                x = self.grow[index // (self.depth + 1)](F.interpolate(x, scale_factor=2, mode="nearest"))
        return self.last(F.silu(self.norm(x)))
