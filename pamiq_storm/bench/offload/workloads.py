"""What is trained: each workload in its real size, and in one for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pamiq_storm.bench.arms import Workload
from pamiq_storm.bench.offload.networks.gpt import GPT2
from pamiq_storm.bench.offload.networks.llama import Llama, LlamaSizes
from pamiq_storm.bench.offload.networks.small import SmallTensors
from pamiq_storm.bench.offload.networks.unet import UNet
from pamiq_storm.demo.gpt import GPTSizes

DTYPE = torch.bfloat16
"""Of parameters, activations and the optimizer's state; the loss over a vocabulary is computed in single precision."""


@dataclass(frozen=True)
class Training:
    """A workload with its batch and its optimizer, on a device."""

    workload: Workload
    batch: tuple[Tensor, Tensor]
    optimizer: torch.optim.Optimizer


@dataclass(frozen=True)
class Recipe:
    """How to make a workload. Both are called with the device and the dtype as torch's defaults."""

    says: str
    model: Callable[[], nn.Module]
    batch: Callable[[torch.Generator], tuple[Tensor, Tensor]]
    """On the CPU."""
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]


def make(name: str, quick: bool, device: torch.device) -> Training:
    """Builds a workload on `device` with seeded weights and one seeded batch."""
    recipe = recipes(quick)[name]
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(DTYPE)
    try:
        with device:  # no copy of the parameters on the host: there they may not fit
            model = recipe.model().to(device)
        with torch.device("cpu"):
            batch = recipe.batch(torch.Generator().manual_seed(0))
    finally:
        torch.set_default_dtype(default)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    blocks: list[nn.Module] = list(model.blocks)  # pyright: ignore[reportArgumentType]
    return Training(Workload(name, model, blocks, recipe.loss), (batch[0].to(device), batch[1].to(device)), optimizer)


def recipes(quick: bool) -> Mapping[str, Recipe]:
    """All workloads by name."""
    return QUICK if quick else FULL


def token_loss(model: nn.Module, tokens: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy over the vocabulary, in single precision as trainers do it."""
    return F.cross_entropy(model(tokens).float(), targets.flatten())


def image_loss(model: nn.Module, image: Tensor, target: Tensor) -> Tensor:
    """Squared error, in single precision."""
    return (model(image).float() - target.float()).square().mean()


def _gpt(layers: int, width: int, heads: int, batch: int, tokens: int, vocabulary: int) -> Recipe:
    return Recipe(
        f"GPT-2 stack, {layers} layers of width {width}, {batch} sequences of {tokens}, vocabulary of {vocabulary}",
        lambda: GPT2(GPTSizes(tokens, layers, width, heads), vocabulary),
        lambda generator: _token_batch(generator, batch, tokens, vocabulary),
        token_loss,
    )


def _llama(sizes: LlamaSizes, tokens: int, rank: int | None = None) -> Recipe:
    trained = "trained whole" if rank is None else f"LoRA of rank {rank} on frozen weights"
    return Recipe(
        f"{sizes.layers} Llama blocks of width {sizes.width}, {sizes.heads}/{sizes.kv_heads} heads, "
        f"feed-forward {sizes.hidden}, one sequence of {tokens}, vocabulary of {sizes.vocabulary}, {trained}",
        lambda: Llama(sizes, tokens, rank),
        lambda generator: _token_batch(generator, 1, tokens, sizes.vocabulary),
        token_loss,
    )


def _small(layers: int, width: int, rows: int, classes: int) -> Recipe:
    return Recipe(
        f"{layers} residual blocks of width {width} on {rows} rows: many tensors of {rows * width * 2 // 1024} KiB",
        lambda: SmallTensors(layers, width, classes),
        lambda generator: (
            torch.randn(rows, width, generator=generator),
            torch.randint(classes, (rows,), generator=generator),
        ),
        token_loss,
    )


def _unet(widths: tuple[int, ...], depth: int, groups: int, batch: int, channels: int, side: int) -> Recipe:
    return Recipe(
        f"U-Net of widths {'/'.join(map(str, widths))}, {depth} blocks a level, {batch} images "
        f"{channels}x{side}x{side}, convolutions and group norms",
        lambda: UNet(channels, widths, depth, groups),
        lambda generator: (
            torch.randn(batch, channels, side, side, generator=generator),
            torch.randn(batch, channels, side, side, generator=generator),
        ),
        image_loss,
    )


def _token_batch(generator: torch.Generator, batch: int, tokens: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    drawn = torch.randint(vocabulary, (batch, tokens + 1), generator=generator)
    return drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()


_LLAMA = LlamaSizes(layers=16, width=4096, heads=32, kv_heads=8, hidden=14336, vocabulary=32768)
_TINY = LlamaSizes(layers=3, width=64, heads=4, kv_heads=2, hidden=160, vocabulary=97)

FULL: Mapping[str, Recipe] = {
    "W1": _gpt(layers=24, width=1024, heads=16, batch=8, tokens=1024, vocabulary=50304),
    "W2:2048": _llama(_LLAMA, 2048),
    "W2:8192": _llama(_LLAMA, 8192),
    "W2:32768": _llama(_LLAMA, 32768),
    "W3": _small(layers=160, width=512, rows=128, classes=1000),
    "W4": _llama(_LLAMA, 4096, rank=16),
    "unet": _unet((320, 640, 1280, 1280), depth=2, groups=32, batch=16, channels=4, side=64),
}

QUICK: Mapping[str, Recipe] = {
    "W1": _gpt(layers=3, width=64, heads=4, batch=2, tokens=32, vocabulary=97),
    "W2:2048": _llama(_TINY, 48),
    "W3": _small(layers=4, width=64, rows=32, classes=11),
    "W4": _llama(_TINY, 48, rank=4),
    "unet": _unet((32, 64), depth=1, groups=8, batch=2, channels=3, side=16),
}
