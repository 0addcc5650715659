"""Small models of every kind the engine meets, and how to train them with and without it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Embedding, one block with fused attention, a tied vocabulary head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(64, 32)
        self.norm = nn.LayerNorm(32)
        self.qkv = nn.Linear(32, 96)
        self.out = nn.Linear(32, 32)
        self.mlp = nn.Sequential(nn.Linear(32, 128), nn.GELU(), nn.Dropout(0.1), nn.Linear(128, 32))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        x = x + self.mlp(x)
        return F.linear(x, self.embedding.weight)


def mlp() -> nn.Module:
    return nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(64, 64), nn.Tanh())))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.Flatten()
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "mlp": (mlp, lambda: torch.randn(64, 64)),
    "cnn": (cnn, lambda: torch.randn(4, 3, 16, 16)),
    "attention": (Attention, lambda: torch.randint(0, 64, (8, 32))),
}


def build(name: str, device: str, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """A model and one batch for it, the same for the same seed."""
    torch.manual_seed(seed)
    make_model, make_input = MODELS[name]
    model = make_model().to(device)
    return model, make_input().to(device)


def loss_of(output: Tensor) -> Tensor:
    return (output.float() ** 2).mean()


Context = Callable[[nn.Module], contextlib.AbstractContextManager[object]]


def train(name: str, device: str, around: Context | None = None, steps: int = 3) -> tuple[list[Tensor], list[Tensor]]:
    """Losses, and every gradient of every step, on the CPU."""
    model, batch = build(name, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    context = around(model) if around is not None else contextlib.nullcontext()
    losses, gradients = [], []
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        with context:
            loss = loss_of(model(batch))
        loss.backward()
        gradients += [p.grad.cpu() for p in model.parameters() if p.grad is not None]
        losses.append(loss.detach().cpu())
        optimizer.step()
    return losses, gradients


def identical(a: list[Tensor], b: list[Tensor]) -> bool:
    """Bit for bit: NaN equals NaN, and zero does not equal minus zero."""
    return len(a) == len(b) and all(
        torch.equal(p.contiguous().view(torch.uint8), q.contiguous().view(torch.uint8))
        if p.dim() > 0
        else torch.equal(p.reshape(1).view(torch.uint8), q.reshape(1).view(torch.uint8))
        for p, q in zip(a, b, strict=True)
    )
