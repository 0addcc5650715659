"""What is trained: each workload in its real size, and in one for tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pamiq_storm.bench.arms import Workload
from pamiq_storm.bench.offload.networks.gpt import GPT2
from pamiq_storm.bench.offload.networks.llama import Llama, LlamaBlock, LlamaSizes, angles, plain
from pamiq_storm.bench.offload.networks.small import SmallTensors
from pamiq_storm.bench.offload.networks.stack import Stack
from pamiq_storm.bench.offload.networks.unet import UNet
from pamiq_storm.demo.gpt import Block, GPTSizes

DTYPE = torch.bfloat16
"""Of parameters, activations and the optimizer's state; the loss over a vocabulary is computed in single precision."""


@dataclass(frozen=True)
class Training:
    """A workload with its batch and its optimizer, on a device."""

    workload: Workload
    batch: tuple[Tensor, Tensor]
    optimizer: torch.optim.Optimizer | None


@dataclass(frozen=True)
class Recipe:
    """How to make a workload. Both are called with the device and the dtype as torch's defaults."""

    says: str
    model: Callable[[], nn.Module]
    batch: Callable[[torch.Generator], tuple[Tensor, Tensor]]
    """On the CPU."""
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor]


def make(name: str, quick: bool, device: torch.device) -> Training:
    """Builds a workload on `device` with seeded weights, one seeded batch and an optimizer."""
    training = build(name, recipes(quick)[name], device)
    trained = [parameter for parameter in training.workload.model.parameters() if parameter.requires_grad]
    return replace(training, optimizer=torch.optim.AdamW(trained, lr=1e-4, fused=True))


def build(name: str, recipe: Recipe, device: torch.device) -> Training:
    """The same of any recipe, without an optimizer."""
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
    blocks: list[nn.Module] = list(model.blocks)  # pyright: ignore[reportArgumentType]
    return Training(Workload(name, model, blocks, recipe.loss), (batch[0].to(device), batch[1].to(device)), None)


def recipes(quick: bool) -> Mapping[str, Recipe]:
    """All workloads by name."""
    return QUICK if quick else FULL


def token_loss(model: nn.Module, tokens: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy over the vocabulary, in single precision as trainers do it."""
    return F.cross_entropy(model(tokens).float(), targets.flatten())


def image_loss(model: nn.Module, image: Tensor, target: Tensor) -> Tensor:
    """Squared error, in single precision."""
    return (model(image).float() - target.float()).square().mean()


def no_loss(model: nn.Module, x: Tensor, _target: Tensor) -> Tensor:
    """What backward can start from, and saves nothing."""
    return model(x).sum()


def _bare_gpt(sizes: GPTSizes, batch: int) -> Recipe:
    return Recipe(
        "the blocks alone",
        lambda: Stack([Block(sizes) for _ in range(sizes.layers)]),
        lambda generator: _hidden_batch(generator, batch, sizes.context, sizes.width),
        no_loss,
    )


def _bare_llama(sizes: LlamaSizes, tokens: int) -> Recipe:
    return Recipe(
        "the blocks alone",
        lambda: Stack(
            [LlamaBlock(sizes, plain) for _ in range(sizes.layers)], angles(tokens, sizes.width // sizes.heads)
        ),
        lambda generator: _hidden_batch(generator, 1, tokens, sizes.width),
        no_loss,
    )


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
        f"U-Net of widths {'/'.join(map(str, widths))}, {depth} block(s) a level, {batch} images "
        f"{channels}x{side}x{side}, convolutions and group norms",
        lambda: UNet(channels, widths, depth, groups),
        lambda generator: (
            torch.randn(batch, channels, side, side, generator=generator),
            torch.randn(batch, channels, side, side, generator=generator),
        ),
        image_loss,
    )


def _hidden_batch(generator: torch.Generator, batch: int, tokens: int, width: int) -> tuple[Tensor, Tensor]:
    return torch.randn(batch, tokens, width, generator=generator), torch.zeros(1)


def _token_batch(generator: torch.Generator, batch: int, tokens: int, vocabulary: int) -> tuple[Tensor, Tensor]:
    drawn = torch.randint(vocabulary, (batch, tokens + 1), generator=generator)
    return drawn[:, :-1].contiguous(), drawn[:, 1:].contiguous()


_LLAMA = LlamaSizes(layers=16, width=4096, heads=32, kv_heads=8, hidden=14336, vocabulary=32768)
_TINY = LlamaSizes(layers=2, width=64, heads=4, kv_heads=2, hidden=160, vocabulary=97)

FULL: Mapping[str, Recipe] = {
    "W1": _gpt(layers=24, width=1024, heads=16, batch=8, tokens=1024, vocabulary=50304),
    "W2:2048": _llama(_LLAMA, 2048),
    "W2:8192": _llama(_LLAMA, 8192),
    "W2:32768": _llama(_LLAMA, 32768),
    "W3": _small(layers=160, width=512, rows=128, classes=1000),
    "W4": _llama(_LLAMA, 4096, rank=16),
    "unet": _unet((320, 640, 1280), depth=1, groups=32, batch=32, channels=4, side=64),
}

QUICK: Mapping[str, Recipe] = {
    "W1": _gpt(layers=2, width=64, heads=4, batch=2, tokens=32, vocabulary=97),
    "W2:2048": _llama(_TINY, 48),
    "W3": _small(layers=3, width=64, rows=32, classes=11),
    "W4": _llama(_TINY, 48, rank=4),
    "unet": _unet((16, 32), depth=1, groups=8, batch=2, channels=3, side=16),
}

BARE: Mapping[str, Recipe] = {
    "W1": _bare_gpt(GPTSizes(context=1024, layers=24, width=1024, heads=16), batch=8),
    "W2:2048": _bare_llama(_LLAMA, 2048),
    "W2:8192": _bare_llama(_LLAMA, 8192),
    "W2:32768": _bare_llama(_LLAMA, 32768),
}
"""The same blocks as the earlier figures had them: without embedding, head, loss and optimizer."""
