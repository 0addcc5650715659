"""W2 and W4: blocks like Llama's, trained whole or through low-rank adapters on frozen weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Projection = Callable[[int, int], nn.Module]
"""Makes a linear map without bias from its two widths."""


@dataclass(frozen=True)
class LlamaSizes:
    """Shape of the model; each key and value head serves `heads / kv_heads` query heads."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    vocabulary: int


class LoRALinear(nn.Module):
    """A frozen linear map and a trained one of low rank beside it."""

    def __init__(self, inputs: int, outputs: int, rank: int) -> None:
        super().__init__()
        self.base = plain(inputs, outputs)
        self.lora_a = plain(inputs, rank)
        self.lora_b = plain(rank, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.lora_b(self.lora_a(x))


class Attention(nn.Module):
    """Causal attention with rotary positions and grouped queries.

    Keys and values are repeated for every query head before torch's fused kernel, as where that kernel knows no groups.
    """

    def __init__(self, sizes: LlamaSizes, projection: Projection) -> None:
        super().__init__()
        self.heads, self.kv_heads = sizes.heads, sizes.kv_heads
        narrow = sizes.width * sizes.kv_heads // sizes.heads
        self.q = projection(sizes.width, sizes.width)
        self.k = projection(sizes.width, narrow)
        self.v = projection(sizes.width, narrow)
        self.o = projection(sizes.width, sizes.width)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        q = rotated(_split(self.q(x), self.heads), cosine, sine)
        k = rotated(_split(self.k(x), self.kv_heads), cosine, sine)
        v = _split(self.v(x), self.kv_heads)
        groups = self.heads // self.kv_heads
        y = F.scaled_dot_product_attention(q, _repeated(k, groups), _repeated(v, groups), is_causal=True)
        return self.o(y.transpose(1, 2).reshape(x.shape))


class LlamaBlock(nn.Module):
    """RMSNorm before attention and before a SwiGLU, each beside a residual path."""

    def __init__(self, sizes: LlamaSizes, projection: Projection) -> None:
        super().__init__()
        self.norm1 = nn.RMSNorm(sizes.width, eps=1e-5)
        self.attention = Attention(sizes, projection)
        self.norm2 = nn.RMSNorm(sizes.width, eps=1e-5)
        self.gate = projection(sizes.width, sizes.hidden)
        self.up = projection(sizes.width, sizes.hidden)
        self.down = projection(sizes.hidden, sizes.width)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), cosine, sine)
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    """Gives `[tokens, vocabulary]`."""

    def __init__(self, sizes: LlamaSizes, tokens: int, lora_rank: int | None = None) -> None:
        super().__init__()
        self.token = nn.Embedding(sizes.vocabulary, sizes.width)
        projection = plain if lora_rank is None else lambda i, o: LoRALinear(i, o, lora_rank)
        self.blocks = nn.ModuleList(LlamaBlock(sizes, projection) for _ in range(sizes.layers))
        self.norm = nn.RMSNorm(sizes.width, eps=1e-5)
        self.output = plain(sizes.width, sizes.vocabulary)
        cosine, sine = angles(tokens, sizes.width // sizes.heads)
        self.cosine = nn.Buffer(cosine, persistent=False)
        self.sine = nn.Buffer(sine, persistent=False)
        if lora_rank is not None:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_("lora_" in name)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens)
        for block in self.blocks:
            x = block(x, self.cosine, self.sine)
        return self.output(self.norm(x)).flatten(0, 1)


def plain(inputs: int, outputs: int) -> nn.Module:
    """A linear map without bias."""
    return nn.Linear(inputs, outputs, bias=False)


def rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turns the pairs of each head by their position's angles."""
    left, right = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-right, left), dim=-1) * sine


def angles(tokens: int, width: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine for `rotated`, `[tokens, width]`."""
    # On the host: a handful of numbers, and the same bits on every device.
    frequency = 10_000.0 ** (-torch.arange(0, width, 2, device="cpu", dtype=torch.float32) / width)
    angle = torch.outer(torch.arange(tokens, device="cpu", dtype=torch.float32), frequency).repeat(1, 2)
    return angle.cos().to(torch.get_default_dtype()), angle.sin().to(torch.get_default_dtype())


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _repeated(x: Tensor, groups: int) -> Tensor:
    return x.repeat_interleave(groups, dim=1) if groups > 1 else x
