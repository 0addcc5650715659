"""Part 5: the model trains in one thread, under the device's memory limit, while another writes text with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pamiq_storm import LaunchConfig, launch
from pamiq_storm.bench.measure import release_cached_memory
from pamiq_storm.demo.gpt import ByteGPT
from pamiq_storm.demo.sizes import LiveSizes
from pamiq_storm.demo.stages import Setting, loss_of
from pamiq_storm.demo.text import batches
from pamiq_storm.live import Environment, FixedIntervalInteraction
from pamiq_storm.torch import (
    TorchAgent,
    TorchInferenceModel,
    TorchTrainer,
    TorchTrainingModel,
)

Advance = Callable[[], None]
Fingerprint = tuple[int, ...]

NAME = "gpt"
PROMPT = b"def "
TEMPERATURE = 0.8


@dataclass(frozen=True)
class Live:
    """What was seen on both sides."""

    losses: tuple[float, ...]
    training_s: float
    error: str | None
    """First line of torch's message if memory ran out."""
    alone_ms: tuple[float, ...]
    """Inferences with nothing else to do, from the call to the byte on the host."""
    beside_ms: tuple[float, ...]
    """The same beside training."""
    sync_ms: tuple[float, ...]
    versions: int
    """Published, the first included."""
    served: tuple[int, ...]
    """The versions that inference saw, known by their bits, in the order of time."""
    unknown: int
    """Times it saw bits that were never published: parts of two versions."""
    misdated: int
    """Times the bits were those of another version than was current."""
    peak_allocated_bytes: int
    first_line: str
    """Text from the first version."""
    last_line: str
    """Text from the last."""


@dataclass
class Ledger:
    """The bits of each version published, and what inference saw. Training writes one half, inference the other."""

    versions: dict[Fingerprint, int] = field(default_factory=dict[Fingerprint, int])
    served: list[int] = field(default_factory=list[int])
    unknown: int = 0
    misdated: int = 0

    def publish(self, module: nn.Module) -> None:
        """Before the sync: nobody can see what is not in the book."""
        self.versions.setdefault(fingerprint(module), len(self.versions))

    def see(self, module: nn.Module, oldest: int, newest: int) -> None:
        """Inference holds `module`; it took hold of it while the version went from `oldest` to `newest`."""
        version = self.versions.get(fingerprint(module))
        if version is None:
            self.unknown += 1
            return
        self.misdated += not oldest <= version <= newest
        self.served.append(version)


def fingerprint(module: nn.Module) -> Fingerprint:
    """A sum of the bits of each parameter: equal for equal versions, and for a mix of two it is neither's."""
    sums = [parameter.detach().view(torch.int32).sum() for parameter in module.parameters()]
    return tuple(torch.stack(sums).tolist())


class Page(Environment[list[int], int]):
    """The text written so far."""

    def __init__(self, window: int) -> None:
        self.text = list(PROMPT)
        self._window = window

    def observe(self) -> list[int]:
        return self.text[-self._window :]

    def affect(self, action: int) -> None:
        self.text.append(action)


class Writer(TorchAgent[list[int], int]):
    """Chooses the next byte with the newest version there is."""

    def __init__(self, device: torch.device, ledger: Ledger, seed: int, advance: Advance) -> None:
        super().__init__()
        self.times_ms: list[float] = []
        self._ledger = ledger
        self._advance = advance
        self._generator = torch.Generator().manual_seed(seed)
        self._device = device
        self._checked = -1

    def on_inference_models_attached(self) -> None:
        self._model = self.get_torch_inference_model(NAME, ByteGPT)

    def step(self, observation: list[int]) -> int:
        start = time.perf_counter()
        oldest = self._model.version
        with self._model.unwrap() as module:
            newest = self._model.version
            byte = next_byte(module, observation, self._device, self._generator)
            self.times_ms.append((time.perf_counter() - start) * 1e3)
            if newest != self._checked:
                self._ledger.see(module, oldest, newest)
                self._checked = newest
        self._advance()
        return byte


class GPTTrainer(TorchTrainer):
    """One AdamW step for each training, and a sync after it."""

    def __init__(self, setting: Setting, ledger: Ledger) -> None:
        super().__init__()
        self.losses: list[float] = []
        self.sync_ms: list[float] = []
        self._setting = setting
        self._ledger = ledger

    def on_training_models_attached(self) -> None:
        self._gpt = self.get_torch_training_model(NAME, ByteGPT)

    def create_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"adamw": self._setting.optimizer(self._gpt.model)}

    def train(self) -> None:
        inputs, targets = self._batch(len(self.losses))
        loss = loss_of(self._gpt, inputs, targets)
        loss.backward()
        self.optimizers["adamw"].step()
        self.optimizers["adamw"].zero_grad()
        self.losses.append(loss.item())

    def sync_models(self) -> None:
        self._ledger.publish(self._gpt.model)
        start = time.perf_counter()
        super().sync_models()
        self.sync_ms.append((time.perf_counter() - start) * 1e3)

    def _batch(self, number: int) -> tuple[Tensor, Tensor]:
        sizes, device = self._setting.sizes, self._setting.hardware.device
        drawn = batches(self._setting.text, sizes.live.batch, sizes.model.context, 1, self._setting.seed + number)
        return drawn[0][0].to(device), drawn[0][1].to(device)


def inferences(sizes: LiveSizes) -> int:
    """Calls of `advance`, if no inference is late."""
    return round(sizes.hz * (sizes.alone_s + sizes.training_s))


def run(setting: Setting, advance: Advance) -> Live:
    """Inference alone, then beside training; both for the seconds that `LiveSizes` gives.

    Running out of memory ends training and is reported, not raised.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    release_cached_memory()
    setting.hardware.limit_memory(setting.sizes.memory_limit_bytes)
    torch.accelerator.reset_peak_memory_stats()
    sizes, device = setting.sizes.live, setting.hardware.device
    model = TorchTrainingModel(setting.model(), device=device, offload=sizes.offload)
    ledger = Ledger()
    ledger.publish(model.model)
    first_line = write_line(model.inference_model, sizes, setting)
    alone, beside = (Writer(device, ledger, setting.seed, advance) for _ in range(2))
    _launch(sizes, alone, model, {}, sizes.alone_s)
    trainer = GPTTrainer(setting, ledger)
    start = time.perf_counter()
    error = None
    try:
        _launch(sizes, beside, model, {"gpt": trainer}, sizes.training_s)
    except* torch.OutOfMemoryError as caught:  # of one thread or of both
        error = str(caught.exceptions[0]).splitlines()[0]
    seconds = time.perf_counter() - start
    torch.accelerator.synchronize()
    return Live(
        losses=tuple(trainer.losses),
        training_s=seconds,
        error=error,
        alone_ms=tuple(alone.times_ms),
        beside_ms=tuple(beside.times_ms),
        sync_ms=tuple(trainer.sync_ms),
        versions=model.publish_stats().syncs + 1,
        served=tuple(ledger.served),
        unknown=ledger.unknown,
        misdated=ledger.misdated,
        peak_allocated_bytes=torch.accelerator.max_memory_allocated(),
        first_line=first_line,
        last_line=write_line(model.inference_model, sizes, setting),
    )


def _launch(
    sizes: LiveSizes,
    writer: Writer,
    model: TorchTrainingModel[ByteGPT],
    trainers: dict[str, GPTTrainer],
    seconds: float,
) -> None:
    interaction = FixedIntervalInteraction.with_sleep_adjustor(writer, Page(sizes.window), 1 / sizes.hz)
    result = launch(interaction, {NAME: model}, {}, trainers, LaunchConfig(max_uptime=seconds))
    if result.reason == "interrupted":
        raise KeyboardInterrupt


def write_line(model: TorchInferenceModel[ByteGPT], sizes: LiveSizes, setting: Setting) -> str:
    """Text from the newest version."""
    generator = torch.Generator().manual_seed(setting.seed)
    text = list(PROMPT)
    for _ in range(sizes.line_bytes):
        with model.unwrap() as module:
            text.append(next_byte(module, text[-sizes.window :], setting.hardware.device, generator))
    return printable(bytes(text))


def next_byte(module: nn.Module, text: list[int], device: torch.device, generator: torch.Generator) -> int:
    """Drawn from the model's distribution, a little sharpened. On the host when it returns."""
    logits = module(torch.tensor([text], device=device))[0, -1].cpu()
    return int(torch.multinomial(torch.softmax(logits / TEMPERATURE, -1), 1, generator=generator))


def printable(text: bytes) -> str:
    """One line: what is no printable ASCII becomes a dot."""
    return "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in text)
