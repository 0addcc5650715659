"""W1: a stack like GPT-2's."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pamiq_storm.demo.gpt import Block, GPTSizes


class GPT2(nn.Module):
    """Learned positions, pre-norm blocks, a vocabulary head that shares no weights. Gives `[tokens, vocabulary]`."""

    def __init__(self, sizes: GPTSizes, vocabulary: int) -> None:
        super().__init__()
        self.token = nn.Embedding(vocabulary, sizes.width)
        self.position = nn.Embedding(sizes.context, sizes.width)
        self.positions = nn.Buffer(torch.arange(sizes.context), persistent=False)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.width)
        self.output = nn.Linear(sizes.width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens) + self.position(self.positions)
        for block in self.blocks:
            x = block(x)
        return self.output(self.norm(x)).flatten(0, 1)
