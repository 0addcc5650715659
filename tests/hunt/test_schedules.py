"""Thousands of small programs under shaken schedules: the bits are those of no offload.

A seed makes the program, the engine's bounds, the order of its backward passes and the delays of every kernel and copy.

``STORM_SCHEDULES=n``: so many instead of CI's. ``STORM_SEED=s``: replay one.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import Tensor

from pamiq_storm import OffloadConfig, offload, sim
from tests.machine import DEVICE, needs_control

from .programs import Program, gradients, in_a_thread, on_host, same_bits, side_streams

# Leaves are used on several streams at once, which torch thinks is a mistake.
pytestmark = pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream")

SCHEDULES = int(os.environ.get("STORM_SCHEDULES", "2000"))
REPLAY = os.environ.get("STORM_SEED")
SIZES: list[int | str] = [0, 512, "4KiB", "64KiB"]


def seeds(first: int, share: int) -> Iterable[int]:
    """The share's part of all schedules, or the one to replay."""
    return [int(REPLAY)] if REPLAY is not None else range(first, first + max(1, SCHEDULES // share))


def bounds(rng: random.Random) -> OffloadConfig:
    """From next to nothing to more than enough; few enough of them that engines are used again."""
    return OffloadConfig(
        min_bytes=512,
        window_bytes=rng.choice(SIZES),
        prefetch_bytes=rng.choice(SIZES),
        keep_last_bytes=rng.choice([0, "4KiB"]),
        slab_bytes="64KiB",
        host_bytes=rng.choice(["8MiB", "8MiB", "64KiB"]),
        measure_stalls=rng.random() < 0.5,
    )


def program(rng: random.Random, dropout: bool = True) -> Program:
    return Program(
        seed=rng.randrange(1 << 30),
        operations=rng.randrange(1, 6),
        rows=rng.choice([8, 16, 32]),
        columns=rng.choice([16, 32]),
        streams=rng.choice([1, 1, 2, 3]),
        dropout=dropout,
    )


def plain(p: Program, streams: list[torch.Stream]) -> list[Tensor]:
    leaves = p.leaves(DEVICE)
    loss = p.loss(leaves, streams)
    return [loss, *gradients(loss, leaves)]


def run(seed: int, streams: list[torch.Stream]) -> None:
    """One schedule: up to three graphs, differentiated in any order, some twice, some never."""
    rng = random.Random(seed)
    programs = [program(rng) for _ in range(rng.choice([1, 1, 2, 3]))]
    expected = [on_host(plain(p, streams)) for p in programs]
    storm = offload(None, bounds(rng), device=DEVICE)
    inputs = [p.leaves(DEVICE) for p in programs]
    torch.accelerator.synchronize()
    results: list[list[Tensor]] = []
    checks: list[int] = []
    with sim.fuzz(seed):
        losses = {}
        for i, p in enumerate(programs):
            with storm:
                losses[i] = p.loss(inputs[i], streams)
        for i in rng.sample(range(len(programs)), len(programs)):
            if rng.random() < 0.1:
                del losses[i]  # dropped
                continue
            for retain in [True, False] if rng.random() < 0.2 else [False]:
                somewhere = in_a_thread if rng.random() < 0.2 else _here
                got = somewhere(lambda i=i, retain=retain: gradients(losses[i], inputs[i], retain))
                results.append([losses[i].detach(), *got])
                checks.append(i)
            del losses[i]
        results = [on_host(result) for result in results]
    for i, got in zip(checks, results, strict=True):
        assert same_bits(got, expected[i]), f"graph {i}"
    torch.accelerator.synchronize()
    assert storm.system.stats().host_bytes == 0
    storm.system._engine.check_invariants()


def _here(body: Callable[[], list[Tensor]]) -> list[Tensor]:
    return body()


def run_in_threads(seed: int, streams: list[torch.Stream]) -> None:
    """One schedule: three threads train through one engine at once."""
    rng = random.Random(seed)
    programs = [program(rng, dropout=False) for _ in range(3)]
    expected = [on_host(plain(p, streams)) for p in programs]
    config = bounds(rng)
    storm = offload(None, config, device=DEVICE)
    inputs = [p.leaves(DEVICE) for p in programs]
    torch.accelerator.synchronize()
    got: dict[int, list[Tensor]] = {}
    errors: list[BaseException] = []
    start = threading.Barrier(len(programs))

    def work(i: int) -> None:
        start.wait()
        try:
            with storm:
                loss = programs[i].loss(inputs[i], streams)
            got[i] = on_host([loss, *gradients(loss, inputs[i])])
        except BaseException as error:
            errors.append(error)

    with sim.fuzz(seed):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(programs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
    for i in range(len(programs)):
        assert same_bits(got[i], expected[i]), f"thread {i}"
    torch.accelerator.synchronize()
    assert storm.system.stats().host_bytes == 0
    storm.system._engine.check_invariants()


@pytest.fixture
def hunt(
    device: str, say_at_the_end: Callable[[str], None], request: pytest.FixtureRequest
) -> Callable[[Callable[[int, list[torch.Stream]], None], Iterable[int]], None]:
    needs_control("shakes the schedule")

    def go(schedule: Callable[[int, list[torch.Stream]], None], chosen: Iterable[int]) -> None:
        count = 0
        for seed in chosen:
            try:
                schedule(seed, side_streams())
            except BaseException as error:
                name = request.node.name
                error.add_note(f"schedule {seed}: replay with STORM_SEED={seed} pytest tests/hunt -k '{name}'")
                raise
            count += 1
        say_at_the_end(f"{request.node.name}: {count} schedules, none differs")

    return go


@pytest.mark.timeout(0 if SCHEDULES > 2000 else 300)
def test_no_schedule_changes_a_bit(hunt: Callable[..., None]) -> None:
    hunt(run, seeds(0, share=1))


@pytest.mark.timeout(0 if SCHEDULES > 2000 else 300)
def test_no_schedule_of_threads_changes_a_bit(hunt: Callable[..., None]) -> None:
    hunt(run_in_threads, seeds(1_000_000, share=20))


@pytest.mark.timeout(0 if SCHEDULES > 2000 else 300)
def test_threads_that_switch_all_the_time_change_no_bit(hunt: Callable[..., None]) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        hunt(run_in_threads, seeds(2_000_000, share=40))
        hunt(run, seeds(3_000_000, share=40))
    finally:
        sys.setswitchinterval(interval)
