"""One training step, from an idle device to an idle device, and what it cost."""

from __future__ import annotations

import gc
import hashlib
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pamiq_storm.bench.arms import Arm
from pamiq_storm.bench.hardware import Link, Traffic
from pamiq_storm.bench.measure import lower_bound_ms
from pamiq_storm.bench.offload.charges import BARE_PYTHON, FREE, HookCost, python_hooks_charged
from pamiq_storm.bench.offload.device import Instrument
from pamiq_storm.bench.offload.workloads import Training

NS_PER_MS = 1e6


@dataclass(frozen=True)
class Step:
    """Times in ms: of the whole by the instrument's clock, of the parts by events on the compute stream."""

    step_ms: float
    forward_ms: float
    backward_ms: float
    optimizer_ms: float
    traffic: Traffic
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    peak_pinned_bytes: int
    races: int | None

    def bound_ms(self, plain: Step, link: Link) -> float:
        """No step that computes as `plain` does and moves what this one moved is shorter."""
        return lower_bound_ms(plain.forward_ms, plain.backward_ms, self.traffic, link) + plain.optimizer_ms


def hook_cost(kind: str, python_hook_s: float) -> HookCost:
    """What an arm's Python hooks are charged, by `ArmKind.hooks`."""
    return {"python": HookCost(python_hook_s, python_hook_s), "bare": BARE_PYTHON}.get(kind, FREE)


def train(arm: Arm, training: Training, instrument: Instrument, cost: HookCost) -> Step:
    """Forward, loss, backward and the optimizer's step."""
    torch.accelerator.synchronize()
    instrument.reset()
    charged = python_hooks_charged(cost, instrument.charge) if instrument.virtual and cost != FREE else nullcontext()
    events = [torch.Event(instrument.device, enable_timing=True) for _ in range(4)]
    begin = instrument.now_ns()
    training.workload.model.zero_grad(set_to_none=True)
    with charged:
        events[0].record()
        loss = arm.forward(*training.batch)
        events[1].record()
        loss.backward()
        events[2].record()
    if training.optimizer is not None:
        training.optimizer.step()
    events[3].record()
    torch.accelerator.synchronize()
    end = instrument.now_ns()
    forward, backward, optimizer = (events[i].elapsed_time(events[i + 1]) for i in range(3))
    return Step(
        step_ms=(end - begin) / NS_PER_MS,
        forward_ms=forward,
        backward_ms=backward,
        optimizer_ms=optimizer,
        traffic=instrument.traffic(),
        peak_allocated_bytes=torch.accelerator.max_memory_allocated(),
        peak_reserved_bytes=torch.accelerator.max_memory_reserved(),
        peak_pinned_bytes=instrument.peak_pinned_bytes(),
        races=instrument.races(),
    )


def release(training: Training | None = None) -> None:
    """Gradients, torch's cached device memory and its cached pinned memory are given back."""
    if training is not None:
        training.workload.model.zero_grad(set_to_none=True)
    gc.collect()
    torch.accelerator.synchronize()
    torch.accelerator.empty_cache()
    torch.accelerator.empty_host_cache()


def digest(arm: Arm, training: Training) -> str:
    """The bits of loss and gradients of one forward and backward, as a hash: comparable between processes."""
    training.workload.model.zero_grad(set_to_none=True)
    loss = arm.forward(*training.batch)
    loss.backward()
    found = hashlib.sha256(_bytes(loss))
    for name, parameter in training.workload.model.named_parameters():  # one after the other: they may be gigabytes
        found.update(name.encode())
        found.update(b"none" if parameter.grad is None else _bytes(parameter.grad))
    return found.hexdigest()


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
