"""The models of the published measurements, as the code that was measured runs them.

`eager` follows the modelling code of the transformers library without compilation: its RMS norm is six operations in
single precision that save three tensors. Otherwise norms are one kernel, as a compiler or a fused kernel makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Mark = Callable[[Tensor], None]
"""Told of the tensors that a method with a list of its own moves."""


@dataclass(frozen=True)
class Shape:
    """Of a Llama or Qwen3."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    vocabulary: int
    head_size: int = 128
    eager: bool = True
    query_norms: bool = True
    """Qwen3 norms each head's queries and keys."""


QWEN3_8B = Shape(36, 4096, 32, 8, 12288, 151936)
QWEN3_06B = Shape(28, 1024, 16, 8, 3072, 151936)
LLAMA3_8B = Shape(32, 4096, 32, 8, 14336, 128256, eager=False, query_norms=False)


class EagerNorm(nn.Module):
    """RMS norm in single operations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * y.to(x.dtype)


class GroupedAttention(torch.autograd.Function):
    """Causal attention that saves keys and values once for all query heads that share them, as flash attention does.

    The simulator's kernel knows no groups: it is given repeated keys and values, which are not saved.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool, mark: Mark) -> Tensor:
        groups = q.shape[1] // k.shape[1]
        kernel = torch.ops.aten._scaled_dot_product_fused_attention_overrideable
        out, lse, *_ = kernel(q, repeated(k, groups), repeated(v, groups), None, 0.0, causal)
        ctx.save_for_backward(q, k, v, out, lse)
        ctx.causal = causal
        for tensor in (q, v, out):
            mark(tensor)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, out, lse = ctx.saved_tensors
        groups = q.shape[1] // k.shape[1]
        kernel = torch.ops.aten._scaled_dot_product_fused_attention_overrideable_backward
        k, v = repeated(k, groups), repeated(v, groups)
        wanted, none = [True, True, True, False], torch.empty(0, dtype=torch.long)
        lengths = (q.shape[2], k.shape[2])
        dq, dk, dv, _ = kernel(grad, q, k, v, None, wanted, out, lse, none, none, *lengths, 0.0, ctx.causal, none, none)
        return dq, _summed(dk, groups), _summed(dv, groups), None, None


class Block(nn.Module):
    """Norm, attention, norm, gated feed-forward."""

    MARKS = 5
    mark: Mark = staticmethod(lambda _: None)
    """Called with `MARKS` tensors in each forward, each before it is saved; the block's input is the first."""

    def __init__(self, shape: Shape, key_share: int) -> None:
        super().__init__()
        queries, keys = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
        norm = EagerNorm if shape.eager else nn.RMSNorm
        self.norm1, self.norm2 = norm(shape.width), norm(shape.width)
        self.q_norm = norm(shape.head_size) if shape.query_norms else nn.Identity()
        self.k_norm = norm(shape.head_size) if shape.query_norms else nn.Identity()
        self.q, self.k, self.v = _linear(shape.width, queries), _linear(shape.width, keys), _linear(shape.width, keys)
        self.o = _linear(queries, shape.width)
        self.gate, self.up = _linear(shape.width, shape.hidden), _linear(shape.width, shape.hidden)
        self.down = _linear(shape.hidden, shape.width)
        self.head_size, self.key_share = shape.head_size, key_share

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        self.mark(x)
        y = self.norm1(x)
        q = _rotated(self.q_norm(self._heads(self.q(y))).transpose(1, 2), cosine, sine)
        k = _rotated(self.k_norm(self._heads(self.k(y))).transpose(1, 2), cosine, sine)
        v = self._heads(self.v(y)).transpose(1, 2)
        out = self._attended(q, k, v)
        x = x + self.o(out.transpose(1, 2).flatten(2))
        y = self.norm2(x)
        gate = self.gate(y)
        self.mark(gate)
        return x + self.down(F.silu(gate) * self.up(y))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_size))

    def _attended(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.key_share == 1:
            return GroupedAttention.apply(q, k, v, True, self.mark)  # pyright: ignore[reportReturnType]
        # One of `key_share * 2` devices in a ring: its queries meet, on average, half of all keys.
        k, v = k.repeat(1, 1, self.key_share, 1), v.repeat(1, 1, self.key_share, 1)
        return GroupedAttention.apply(q, k, v, False, self.mark)  # pyright: ignore[reportReturnType]


class Transformer(nn.Module):
    """Tokens to the hidden states after the last norm; `head` makes logits of them."""

    def __init__(self, shape: Shape, key_share: int = 1) -> None:
        super().__init__()
        self.token = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape, key_share) for _ in range(shape.layers))
        self.norm = EagerNorm(shape.width) if shape.eager else nn.RMSNorm(shape.width)
        self.head = _linear(shape.width, shape.vocabulary)
        self.head_size = shape.head_size

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.token(tokens)
        # The angles are the same in every arm, and small: their values are not needed here.
        cosine = torch.ones(tokens.shape[1], self.head_size, dtype=x.dtype, device=x.device)
        sine = torch.zeros_like(cosine)
        for block in self.blocks:
            x = block(x, cosine, sine)
        return self.norm(x)


def repeated(x: Tensor, groups: int) -> Tensor:
    """Each head `groups` times."""
    return x.repeat_interleave(groups, dim=1) if groups > 1 else x


def _summed(x: Tensor, groups: int) -> Tensor:
    return x.unflatten(1, (-1, groups)).sum(2) if groups > 1 else x


def _rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-right, left), dim=-1) * sine


def _linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)
