"""Does a sync make `torch.compile` compile again?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from pamiq_storm.bench.publish.arms import LiveModel, call
from pamiq_storm.bench.publish.networks import Size, Tower
from pamiq_storm.bench.publish.rounds import row, timed_ms
from pamiq_storm.bench.publish.setting import Advance, Part, Setting
from pamiq_storm.results import PublishRow

FIRST_INFERENCE = "first inference after a sync, compiled"


class Moody(nn.Module):
    """A tower that, as most networks do, works another way in training than in evaluation."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tower = Tower(size)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.tower(x))


def steps(setting: Setting) -> int:
    """Calls of `advance`."""
    return len(setting.arms)


def measure(setting: Setting, advance: Advance) -> Part:
    """Graphs compiled by inference and training after the first of each, with syncs in between."""
    rows: list[PublishRow] = []
    compiled: dict[str, int] = {}
    for name, make in setting.arms.items():
        torch._dynamo.reset()
        torch.manual_seed(0)
        model = Moody(setting.plan.compiled).to(setting.device)
        with _backend(setting.plan.backend):
            live = make(model, call, compiled=True)
            times, compiled[name] = _count(setting, live)
        rows.append(row(name, setting.case(FIRST_INFERENCE), model, times))
        advance()
    torch._dynamo.reset()
    return Part(rows, {"recompilations": compiled, "compile_backend": setting.plan.backend})


def _count(setting: Setting, live: LiveModel) -> tuple[list[float], int]:
    from torch._dynamo.utils import counters  # seconds to import: not for every command

    width = next(live.model.parameters()).shape[1]
    x, batch = (torch.ones(n, width, device=setting.device) for n in (1, 4))

    def train() -> None:
        live(batch).square().mean().backward()

    def infer() -> None:
        live.inference_model.infer(x)

    start = counters["stats"]["unique_graphs"]
    infer()
    train()
    before = counters["stats"]["unique_graphs"]
    times: list[float] = []
    for _ in range(setting.plan.compiled_syncs):
        live.sync()
        times.append(timed_ms(infer, setting.device))
        train()
    if before == start:
        raise RuntimeError("nothing was compiled, so nothing can be said about compiling again")
    return times, counters["stats"]["unique_graphs"] - before


@contextmanager
def _backend(name: str) -> Iterator[None]:
    """Live models compile with the default backend; a quick run has no time for it."""
    original = nn.Module.compile

    def compile_with(module: nn.Module, *args: Any, **options: Any) -> None:
        original(module, *args, **{"backend": name, **options})

    with patch.object(nn.Module, "compile", compile_with):
        yield
