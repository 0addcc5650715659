"""The parts of the demo. Each returns what it found out; none of them writes or prints."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pamiq_storm import offload
from pamiq_storm.bench.arms import PlainArm, Workload, standard_arms
from pamiq_storm.bench.bits import differing, gradients, same_bits
from pamiq_storm.bench.compare import Comparison, compare
from pamiq_storm.bench.hardware import Hardware, Link, SimulatedHardware
from pamiq_storm.bench.measure import release_cached_memory, run_step
from pamiq_storm.bench.saved import SavedBytes, count_saved
from pamiq_storm.demo.gpt import ByteGPT
from pamiq_storm.demo.sizes import MOVE_SHARE, DemoSizes
from pamiq_storm.demo.text import Text, batches

Advance = Callable[[], None]

CALIBRATION_STEPS = 4


@dataclass(frozen=True)
class Setting:
    """What all parts share."""

    hardware: Hardware
    sizes: DemoSizes
    text: Text
    seed: int

    def model(self) -> ByteGPT:
        """The same model each time, on the device."""
        torch.manual_seed(self.seed)
        return ByteGPT(self.sizes.model).to(self.hardware.device)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=self.sizes.learning_rate)

    def batches(self, batch: int, count: int) -> list[tuple[Tensor, Tensor]]:
        """The same batches each time, on the device."""
        device = self.hardware.device
        made = batches(self.text, batch, self.sizes.model.context, count, self.seed)
        return [(inputs.to(device), targets.to(device)) for inputs, targets in made]

    def workload(self, model: ByteGPT) -> Workload:
        return Workload("byte-gpt", model, list(model.blocks), loss_of)


@dataclass(frozen=True)
class Training:
    """A run under the memory limit."""

    losses: tuple[float, ...]
    seconds: float
    peak_allocated_bytes: int
    error: str | None
    """First line of torch's message if memory ran out."""


@dataclass(frozen=True)
class Identity:
    """Two runs side by side, with and without STORM."""

    steps: int
    tensors: int
    """Losses and gradients compared."""
    different: tuple[str, ...]
    """`step N: name` of each that differs in any bit."""
    fetched_bytes: int
    """What came back from the host; nothing is shown if nothing was moved."""


def loss_of(model: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the next byte, in nats."""
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())


def calibrate(setting: Setting, advance: Advance) -> SavedBytes:
    """Counts what forward saves; on the simulator, gives the link its rate (`MOVE_SHARE`).

    The quickest step counts: what else the machine does only adds time.
    """
    release_cached_memory()
    setting.hardware.limit_memory(None)
    workload = setting.workload(setting.model())
    inputs, targets = setting.batches(setting.sizes.batch, 1)[0]
    saved = count_saved(workload, inputs, targets)
    arm = PlainArm(workload)
    compute_ms: list[float] = []
    for _ in range(CALIBRATION_STEPS):
        workload.model.zero_grad()
        step = run_step(arm, setting.hardware, inputs, targets)
        compute_ms.append(step.forward_ms + step.backward_ms)
        advance()
    if isinstance(setting.hardware, SimulatedHardware):
        rate = saved.activations / (MOVE_SHARE * min(compute_ms) / 1e3)
        setting.hardware.set_link(Link(rate, rate))
    return saved


def train(setting: Setting, with_storm: bool, advance: Advance) -> Training:
    """Trains under the memory limit. Running out of memory ends it and is reported, not raised."""
    release_cached_memory()
    setting.hardware.limit_memory(setting.sizes.memory_limit_bytes)
    torch.accelerator.reset_peak_memory_stats()
    losses: list[float] = []
    error = None
    start = time.perf_counter()
    try:
        _train(setting, with_storm, losses, advance)
    except torch.OutOfMemoryError as caught:
        error = str(caught).splitlines()[0]
    gc.collect()  # what the error's frames held
    peak = torch.accelerator.max_memory_allocated()
    return Training(tuple(losses), time.perf_counter() - start, peak, error)


def _train(setting: Setting, with_storm: bool, losses: list[float], advance: Advance) -> None:
    model = setting.model()
    optimizer = setting.optimizer(model)
    storm = offload(model, setting.sizes.offload) if with_storm else None
    try:
        for inputs, targets in setting.batches(setting.sizes.batch, setting.sizes.train_steps):
            if storm is None:
                loss = loss_of(model, inputs, targets)
            else:
                with storm:
                    loss = loss_of(model, inputs, targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            advance()
    finally:
        if storm is not None:
            storm.close()


def compare_bits(setting: Setting, advance: Advance) -> Identity:
    """Trains two copies, one with STORM, and compares loss and all gradients before each optimizer step.

    Without the memory limit, since two copies and their optimizers' state need most of it.
    """
    release_cached_memory()
    setting.hardware.limit_memory(None)
    sizes = setting.sizes
    plain, stormy = setting.model(), setting.model()
    optimizers = [setting.optimizer(plain), setting.optimizer(stormy)]
    storm = offload(stormy, sizes.identity_offload)
    different: list[str] = []
    tensors = 0
    try:
        for step, (inputs, targets) in enumerate(setting.batches(sizes.identity_batch, sizes.identity_steps), 1):
            loss = loss_of(plain, inputs, targets)
            loss.backward()
            with storm:
                storm_loss = loss_of(stormy, inputs, targets)
            storm_loss.backward()
            expected = {"loss": loss.detach().cpu(), **gradients(plain)}
            names = differing(expected, {"loss": storm_loss.detach().cpu(), **gradients(stormy)})
            different += [f"step {step}: {name}" for name in names]
            tensors += len(expected)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            advance()
        fetched = storm.stats().fetched_bytes
    finally:
        storm.close()
    pairs = zip(plain.named_parameters(), stormy.parameters(), strict=True)
    different += [f"at the end: {name}" for (name, first), second in pairs if not same_bits(first, second)]
    return Identity(sizes.identity_steps, tensors, tuple(different), fetched)


def compare_arms(setting: Setting, advance: Advance) -> Comparison:
    """Measures all arms at the batch that does not fit, without the memory limit: no offload needs more than that."""
    release_cached_memory()
    setting.hardware.limit_memory(None)
    model = setting.model()
    workload = setting.workload(model)
    return compare(
        workload,
        standard_arms(workload, setting.hardware.device, setting.sizes.offload),
        setting.hardware,
        setting.batches(setting.sizes.batch, 1)[0],
        setting.optimizer(model),
        setting.sizes.rounds,
        advance,
    )
