"""Real text that every Python has: the sources of its standard library."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Text:
    """Bytes as a one-dimensional uint8 tensor, and the number of files they come from."""

    data: Tensor
    files: int


def standard_library(limit_bytes: int, folder: Path | None = None) -> Text:
    """Reads `*.py` of the standard library in path order until `limit_bytes` are there.

    Raises:
        FileNotFoundError: `folder` (by default Python's own) holds too few sources.
    """
    root = folder or Path(sysconfig.get_paths()["stdlib"])
    collected = bytearray()
    files = 0
    for path in sorted(_sources(root)):
        if len(collected) >= limit_bytes:
            break
        collected += path.read_bytes()
        files += 1
    if len(collected) < limit_bytes:
        raise FileNotFoundError(
            f"{root} has {len(collected)} bytes of Python sources, {limit_bytes} are needed: "
            "install the standard library's sources"
        )
    return Text(torch.frombuffer(collected, dtype=torch.uint8)[:limit_bytes].clone(), files)


def _sources(root: Path) -> list[Path]:
    outside = {"site-packages", "dist-packages", "test", "tests", "idlelib"}
    return [p for p in root.rglob("*.py") if not outside.intersection(p.relative_to(root).parts)]


def batches(text: Text, batch: int, context: int, count: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """`count` pairs (tokens, next tokens), each `[batch, context]` int64, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(len(text.data) - context - 1, (count, batch), generator=generator)
    windows = text.data[starts.unsqueeze(-1) + torch.arange(context + 1)].long()
    return [(window[:, :-1].contiguous(), window[:, 1:].contiguous()) for window in windows]
