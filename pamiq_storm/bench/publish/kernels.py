"""How many kernels of training an inference waits for on a device.

Training has issued kernels that take long, far more than inference. Another thread infers. Events behind each of
training's kernels tell how many ended between the call and the answer on the host: one may end meanwhile by itself, and
the device's whole queue does where inference stands behind it. The answer is read on the reader's current stream. Where
that is training's own, reading waits for training, whoever served the model.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from pamiq_storm.bench.publish.arms import LiveModel
from pamiq_storm.bench.publish.networks import Size, Tower
from pamiq_storm.bench.publish.rounds import row, settle
from pamiq_storm.bench.publish.setting import Advance, Part, Setting
from pamiq_storm.results import PublishRow

SYNC_BEHIND = "sync behind {} kernels of training, host time"
ROUNDS = 3
WIDTH_ON_SIM = 512
STALL = 10.0
"""The simulated device takes this many times the time of the product: long beside everything inference does."""
SIZE = Size(1e4, 8)


@dataclass(frozen=True)
class Scenario:
    """What happens between issuing training's kernels and the inference, and where the answer is read."""

    fact: str
    case: str
    own_stream: bool
    sync: bool


SCENARIOS = (
    Scenario("behind_training", "inference behind {} kernels of training", own_stream=True, sync=False),
    Scenario("behind_training_and_sync", "inference behind {} kernels of training and a sync", True, sync=True),
    Scenario("read_on_trainings_stream", "inference behind {} kernels, read on training's stream", False, sync=False),
)


@dataclass(frozen=True)
class Wait:
    """One inference behind the queue."""

    kernels: int
    inference_ms: float
    sync_ms: float | None


def steps(setting: Setting) -> int:
    """Calls of `advance`."""
    return len(setting.arms)


def measure(setting: Setting, advance: Advance) -> Part:
    """Each arm behind training alone and behind training that has published; nothing on the CPU, which has no queue."""
    rows: list[PublishRow] = []
    facts: dict[str, dict[str, int]] = {}
    kernels = setting.plan.kernels
    for name, make in setting.publishers().items():
        torch.manual_seed(0)
        model = Tower(SIZE).to(setting.device)
        live = make(model)
        x = torch.ones(1, model.width, device=setting.device)
        live.sync()
        settle(setting.device)  # the arms infer on streams of their own
        live.inference_model.infer(x).cpu()
        facts[name] = {}
        syncs: list[float] = []
        for scenario in SCENARIOS:
            waits = [_wait(setting, live, x, scenario) for _ in range(ROUNDS)]
            times = [wait.inference_ms for wait in waits]
            rows.append(row(name, setting.case(scenario.case.format(kernels)), model, times))
            facts[name][scenario.fact] = max(wait.kernels for wait in waits)
            syncs += [wait.sync_ms for wait in waits if wait.sync_ms is not None]
        rows.append(row(name, setting.case(SYNC_BEHIND.format(kernels)), model, syncs))
        advance()
    return Part(rows, {"kernels_of_training_waited_for": {"queued": kernels, **facts}})


def _wait(setting: Setting, live: LiveModel, x: Tensor, scenario: Scenario) -> Wait:
    settle(setting.device)
    training = torch.accelerator.current_stream()
    with ThreadPoolExecutor(1) as thread:
        stream = torch.Stream(setting.device) if scenario.own_stream else training
        thread.submit(torch.accelerator.set_stream, stream).result()
        # What a thread or a stream makes at its first use (a library's handle, its workspace) may wait for the device.
        thread.submit(lambda: live.inference_model.infer(x).cpu()).result()
        ends = _issue(setting)
        sync_ms = _host_ms(live.sync) if scenario.sync else None
        return thread.submit(_infer, live, x, ends, sync_ms).result()


def _infer(live: LiveModel, x: Tensor, ends: Sequence[torch.Event], sync_ms: float | None) -> Wait:
    before = sum(end.query() for end in ends)
    start = time.perf_counter()
    live.inference_model.infer(x).cpu()
    inference_ms = (time.perf_counter() - start) * 1e3
    return Wait(sum(end.query() for end in ends) - before, inference_ms, sync_ms)


def _issue(setting: Setting) -> list[torch.Event]:
    width = WIDTH_ON_SIM if setting.simulated else setting.plan.kernel_width
    a = torch.full((width, width), 1 / width, device=setting.device)
    torch.mm(a, a)  # loads the kernel
    settle(setting.device)
    ends: list[torch.Event] = []
    with _slow(setting):
        for _ in range(setting.plan.kernels):
            torch.mm(a, a)
            ends.append(torch.Event())
            ends[-1].record()
    return ends


def _slow(setting: Setting) -> AbstractContextManager[None]:
    if not setting.simulated:
        return contextlib.nullcontext()
    from pamiq_storm import sim

    return sim.stall(torch.accelerator.current_stream(), STALL)


def _host_ms(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3
