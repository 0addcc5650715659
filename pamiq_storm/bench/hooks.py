"""What a saved-tensor hook costs the host, per tensor that autograd saves.

A chain of `sin` saves one tensor per operation. Forward and backward of the chain are timed on the host's clock, which
on an accelerator is the time to issue the work: the device is idle before the clock starts and nobody waits for it at
the end. Hooks are interleaved round by round, and the best round counts: what else the machine does only adds time.

Two more kinds of case. *Issue only*: the simulated device computes with the processor that the host needs; there its
streams are held until everything is issued. The variants of ours show what a part of it costs. *Flat*: the same chain
with 10 to 100,000 saved tensors.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks

from pamiq_storm import OffloadConfig, offload, sim
from pamiq_storm.bench.console import Console, table
from pamiq_storm.bench.hardware import Link, choose
from pamiq_storm.results import HookRow, Results, collect

Context = Callable[[], AbstractContextManager[object]]

LINK = Link(2e9, 2e9)
CONFIG = OffloadConfig(
    min_bytes="64KiB", window_bytes="4MiB", prefetch_bytes="4MiB", keep_last_bytes=0, slab_bytes="16MiB"
)


@dataclass(frozen=True)
class Case:
    """A chain of operations whose saved tensors meet one fate."""

    name: str
    device: torch.device
    elements: int
    tensors: int
    rounds: int
    hooks: Mapping[str, Context]
    held: bool = False
    """The simulated device starts when all is issued."""


@dataclass(frozen=True)
class HostTime:
    """Seconds the host took for one chain."""

    forward: float
    backward: float


def run(device: str, quick: bool, console: Console) -> Results:
    """Measures all cases and says what was found."""
    hardware = choose(device, LINK)
    cases = _cases(hardware.device, quick)
    gc.disable()  # a collection would land in somebody's round
    try:
        with console.progress("hooks", sum(case.rounds + 1 for case in cases)) as advance:
            rows = [row for case in cases for row in _measure(case, advance)]
    finally:
        gc.enable()
    results = collect("hooks", hardware.device.type, hardware.simulated, hardware.profile, rows)
    console.line(describe(rows))
    return results


def describe(rows: list[HookRow]) -> str:
    """The rows as text."""
    header = ["case / hook", "forward us", "backward us", "added forward", "added backward", "tensors"]
    lines = [
        [
            f"{row.case} / {row.hook}",
            f"{row.forward_us:.2f}",
            f"{row.backward_us:.2f}",
            f"{row.added_forward_us:+.2f}",
            f"{row.added_backward_us:+.2f}",
            str(row.tensors),
        ]
        for row in rows
    ]
    return table(header, lines) + "\nhost time per saved tensor, best round; added: over torch's plain saving"


def _cases(device: torch.device, quick: bool) -> list[Case]:
    kept = {
        "none": contextlib.nullcontext,
        "storm_kept": _storm(device),
        "python_identity": lambda: saved_tensors_hooks(_identity, _identity),
        "python_detach": lambda: saved_tensors_hooks(Tensor.detach, _identity),
        "save_on_cpu": lambda: save_on_cpu(pin_memory=True, device_type=device.type),
    }
    offloaded = {"storm_offloaded" if name == "storm_kept" else name: make for name, make in kept.items()}
    # Short chains and many rounds: one that nothing interrupts is then among them.
    short, many = (50, 3) if quick else (200, 200)
    cases = [
        Case("kept, CPU tensors", torch.device("cpu"), 16, short, many, kept),
        Case(f"kept, small {device.type} tensors", device, 16, short, many, kept),
        Case(f"offloaded, {device.type} tensors", device, 32768, short // 2, many // 3, offloaded),
    ]
    if device.type == "sim":
        none = {"none": contextlib.nullcontext}
        parts = none | {
            "storm_offloaded": _storm(device),
            "storm_stalls_not_timed": _storm(device, measure_stalls=False),
            "storm_never_waits": _storm(device, window_bytes="64MiB", prefetch_bytes="64MiB"),
            "storm_kept": _storm(device, min_bytes="1GiB", host_bytes="2GiB"),
        }
        cases.append(Case("offloaded, issue only", device, 32768, short // 2, many // 3, parts, held=True))
    for length in (10, 100) if quick else (10, 100, 1000, 10_000, 100_000):
        both = {
            "none": contextlib.nullcontext,
            "storm_kept": _storm(device, min_bytes="1MiB"),
            "storm_offloaded": _storm(device, min_bytes="4KiB"),
        }
        rounds = max(2, min(many, 20_000 // length))
        cases.append(Case(f"flat, {length} tensors", device, 1024, length, rounds, both))
    return cases


def _storm(device: torch.device, **changes: object) -> Context:
    config = replace(CONFIG, **changes)  # pyright: ignore[reportArgumentType]
    return lambda: offload(None, config, device=device)


def _identity(tensor: Tensor) -> Tensor:
    return tensor


def _measure(case: Case, advance: Callable[[], None]) -> list[HookRow]:
    start = torch.full((case.elements,), 0.5, device=case.device, requires_grad=True)
    contexts = {name: make() for name, make in case.hooks.items()}
    times: dict[str, list[HostTime]] = {name: [] for name in contexts}
    names = list(contexts)
    for number in range(case.rounds + 1):
        shift = number % len(names)  # nobody always comes after the same neighbour
        for name in names[shift:] + names[:shift]:
            found = _time_chain(start, case.tensors, contexts[name], case.held)
            if number > 0:  # the first fills caches and pools
                times[name].append(found)
        advance()
    for context in contexts.values():
        if isinstance(context, offload):
            context.close()
    best = {
        name: HostTime(min(t.forward for t in found), min(t.backward for t in found)) for name, found in times.items()
    }
    return [_row(case, name, best[name], best["none"]) for name in contexts]


def _time_chain(start: Tensor, length: int, context: AbstractContextManager[object], held: bool) -> HostTime:
    torch.accelerator.synchronize()
    brake = _hold_all(context) if held else contextlib.nullcontext()
    with brake, context:
        began = time.perf_counter()
        y = start
        for _ in range(length):
            y = y.sin()
        forward = time.perf_counter() - began
    gradient = torch.ones_like(y)
    torch.accelerator.synchronize()
    with _hold_all(context) if held else contextlib.nullcontext():
        began = time.perf_counter()
        y.backward(gradient)
        backward = time.perf_counter() - began
    torch.accelerator.synchronize()
    start.grad = None
    return HostTime(forward, backward)


@contextlib.contextmanager
def _hold_all(context: AbstractContextManager[object]) -> Iterator[None]:
    streams = [torch.accelerator.current_stream()]
    if isinstance(context, offload):
        streams += context.system.streams
    with contextlib.ExitStack() as held:
        for stream in streams:
            held.enter_context(sim.hold(stream))
        yield


def _row(case: Case, name: str, found: HostTime, plain: HostTime) -> HookRow:
    per_tensor = 1e6 / case.tensors
    return HookRow(
        hook=name,
        case=case.name,
        forward_us=found.forward * per_tensor,
        backward_us=found.backward * per_tensor,
        added_forward_us=(found.forward - plain.forward) * per_tensor,
        added_backward_us=(found.backward - plain.backward) * per_tensor,
        tensors=case.tensors,
    )
