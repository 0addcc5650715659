"""Blocks alone: no embedding, no vocabulary head, as the earlier figures were taken."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Stack(nn.Module):
    """Applies blocks one after the other; each gets the same constants besides."""

    def __init__(self, blocks: Sequence[nn.Module], constants: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        for index, constant in enumerate(constants):
            self.register_buffer(f"constant{index}", constant, persistent=False)
        self._names = [f"constant{index}" for index in range(len(constants))]

    def forward(self, x: Tensor) -> Tensor:
        constants = [self.get_buffer(name) for name in self._names]
        for block in self.blocks:
            x = block(x, *constants)
        return x
