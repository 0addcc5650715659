"""Training programs whose schedules are compared. Each returns a function that takes one step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pamiq_storm import OffloadConfig, offload, sim

Step = Callable[[], Tensor]
CONFIG = OffloadConfig(min_bytes=1024, window_bytes="256KiB", prefetch_bytes="256KiB", keep_last_bytes="16KiB")


def mlp(dtype: torch.dtype = torch.float32) -> Step:
    layers = [nn.Sequential(nn.Linear(128, 512), nn.GELU(), nn.Linear(512, 128), nn.LayerNorm(128)) for _ in range(4)]
    model = nn.Sequential(*layers).to("sim", dtype)
    optimizer = torch.optim.AdamW(model.parameters(), foreach=True)
    x = torch.randn(256, 128, device="sim", dtype=dtype)

    def step() -> Tensor:
        with offload(model, config=CONFIG):
            loss = model(x).float().square().mean()
        return _finish(loss, optimizer)

    return step


def half_mlp() -> Step:
    return mlp(torch.bfloat16)


def attention() -> Step:
    layer = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True, activation="gelu").to("sim")
    optimizer = torch.optim.AdamW(layer.parameters(), fused=True)
    x = torch.randn(4, 32, 64, device="sim")

    def step() -> Tensor:
        with offload(layer, config=CONFIG):
            loss = layer(x).square().mean()
        return _finish(loss, optimizer)

    return step


def language_model() -> Step:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(512, 64)
            self.norm = nn.RMSNorm(64)
            self.query, self.key, self.value = nn.Linear(64, 64), nn.Linear(64, 16), nn.Linear(64, 16)
            self.head = nn.Linear(64, 512, bias=False)

        def forward(self, tokens: Tensor) -> Tensor:
            x = self.norm(self.embedding(tokens))
            heads = [p(x).unflatten(-1, (-1, 16)).transpose(1, 2) for p in (self.query, self.key, self.value)]
            mixed = F.scaled_dot_product_attention(*heads, is_causal=True, enable_gqa=True)
            return self.head(x + mixed.transpose(1, 2).flatten(2))

    model = Model().to("sim")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    tokens = torch.randint(0, 512, (2, 64)).to("sim")

    def step() -> Tensor:
        with torch.autocast("sim", torch.bfloat16), offload(model, config=CONFIG):
            loss = F.cross_entropy(model(tokens).flatten(0, 1), tokens.flatten())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        return _finish(loss, optimizer)

    return step


def convolutions() -> Step:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ConvTranspose2d(16, 8, 2, stride=2),
        nn.Dropout(0.1),
        nn.Conv2d(8, 3, 1),
    ).to("sim")
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    x = torch.randn(2, 3, 32, 32, device="sim")

    def step() -> Tensor:
        with offload(model, config=CONFIG):
            loss = model(x).square().mean()
        return _finish(loss, optimizer)

    return step


def recurrent() -> Step:
    model = nn.LSTM(32, 64, batch_first=True).to("sim")
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.randn(4, 8, 32, device="sim")

    def step() -> Tensor:
        with offload(model, config=CONFIG):
            loss = model(x)[0].square().mean()
        return _finish(loss, optimizer)

    return step


PROGRAMS: dict[str, Callable[[], Step]] = {
    p.__name__: p for p in (mlp, half_mlp, attention, language_model, convolutions, recurrent)
}


def _finish(loss: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


def schedule(name: str, steps: int = 3) -> dict[str, Any]:
    """What the program's last step did: all spans relative to its begin, memory, and the figures."""
    torch.manual_seed(0)
    step = PROGRAMS[name]()
    for _ in range(steps - 1):
        step()
    torch.accelerator.synchronize()
    sim.reset_stats()
    begin = sim.now_ns()
    with sim.timeline() as recorded:
        step()
        torch.accelerator.synchronize()
    return {
        "ns": sim.now_ns() - begin,
        "spans": [(s.lane, s.name, s.begin_ns - begin, s.end_ns - begin, s.bytes) for s in recorded.spans],
        "memory": [(p.ns - begin, p.allocated) for p in recorded.memory],
        "stats": vars(sim.stats()),
    }
