"""The pinned pool against a plain model of it, under random interleavings."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from pamiq_storm import _C, sim
from tests.machine import DEVICE, needs_control

from .budget import Counting, budget
from .programs import side_streams

SLAB, CAP, GRANULE, STREAMS = 64 * 1024, 512 * 1024, 512, 2


def rounded(size: int) -> int:
    return -(-size // GRANULE) * GRANULE


def power_above(size: int) -> int:
    return 1 << (size - 1).bit_length()


def power_below(size: int) -> int:
    return 1 << (size.bit_length() - 1) if size else 0


@dataclass
class Held:
    """A buffer as the model sees it: where it lies and what was written there."""

    buffer: object
    ranges: list[tuple[int, int]]  # address, bytes
    content: int
    arrived: list[torch.Tensor] = field(default_factory=list)  # copies of it, queued on streams

    def taken(self) -> int:
        return sum(rounded(size) for _, size in self.ranges)


@dataclass
class Deferred:
    held: Held
    behind: set[int]  # streams that stood still when it came and still do


class PoolMachine(Counting, RuleBasedStateMachine):
    """A stream stands still or is empty, so that what is free does not depend on time."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = _C.PinnedMemoryPool(torch.device(DEVICE, 0), SLAB, CAP)
        self.streams = side_streams()
        self.brakes: dict[int, contextlib.ExitStack] = {}
        self.live: list[Held] = []
        self.deferred: list[Deferred] = []
        self.written = 0
        self.acquired = self.refused = self.pin_failures = 0

    def teardown(self) -> None:
        self.let_all_go()
        self.settle()
        while self.live:
            self.live.pop().buffer.release()
        assert self.pool.stats()["live_bytes"] == 0
        del self.pool  # not when the next machine holds streams: giving slabs back may wait for them

    # ------------------------------------------------------------------ rules

    @rule(
        size=st.one_of(st.integers(1, 200_000), st.integers(1, 5000), st.sampled_from([SLAB, CAP, CAP + 1])),
        pieces=st.booleans(),
        pin_fails=st.integers(0, 9).map(lambda n: n == 0),
    )
    def acquire(self, size: int, pieces: bool, pin_fails: bool) -> None:
        with contextlib.ExitStack() as stack:
            injected = stack.enter_context(sim.inject(pinned=1)) if pin_fails else None
            buffer = self.pool.try_acquire(size, pieces)
        if injected is not None:
            self.pin_failures += injected.pinned
        if buffer is None:
            self.check_refusal(size, pieces)
            return
        self.acquired += 1
        assert buffer.bytes == size
        tensors = buffer.tensors()
        assert len(tensors) == 1 or pieces
        self.written = self.written % 250 + 1
        for tensor in tensors:
            tensor.fill_(self.written)
        self.live.append(Held(buffer, [(t.data_ptr(), t.numel()) for t in tensors], self.written))
        assert sum(size for _, size in self.live[-1].ranges) == size

    def check_refusal(self, size: int, pieces: bool) -> None:
        self.refused += 1
        stats = self.pool.stats()
        room = CAP - stats["pinned_bytes"] - stats["pageable_bytes"]
        assert (rounded(size) > power_below(room)) if pieces else (power_above(rounded(size)) > room)

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        held = self.pick(data)
        self.check_content(held)
        held.buffer.release()
        with pytest.raises(RuntimeError, match="given back"):
            held.buffer.tensors()

    @precondition(lambda self: self.live)
    @rule(data=st.data(), streams=st.sets(st.integers(0, STREAMS - 1)))
    def recycle(self, data: st.DataObject, streams: set[int]) -> None:
        """As the engine does: copies are queued, then the buffer goes back behind them."""
        held = self.pick(data)
        for i in streams:
            with self.streams[i]:
                for address, size in held.ranges:
                    host = torch.frombuffer((ctypes.c_uint8 * size).from_address(address), dtype=torch.uint8)
                    if not held.buffer.pinned and i in self.brakes:
                        continue  # such a copy blocks the host
                    held.arrived.append(torch.empty(size, dtype=torch.uint8, device=DEVICE))
                    held.arrived[-1].copy_(host, non_blocking=True)
        self.pool.recycle_after(held.buffer, [self.streams[i] for i in streams])
        self.deferred.append(Deferred(held, streams & self.brakes.keys()))
        self.settle()

    @rule(i=st.integers(0, STREAMS - 1))
    def hold(self, i: int) -> None:
        if i not in self.brakes:
            self.brakes[i] = contextlib.ExitStack()
            self.brakes[i].enter_context(sim.hold(self.streams[i]))

    @rule(i=st.integers(0, STREAMS - 1))
    def let_go(self, i: int) -> None:
        if i in self.brakes:
            self.brakes.pop(i).close()
            self.settle()

    @precondition(lambda self: self.deferred)
    @rule()
    def wait(self) -> None:
        """As long as there is something deferred, waiting for the oldest is waiting for a range."""
        freed: list[bool] = []
        thread = threading.Thread(target=lambda: freed.append(self.pool.wait_for_oldest()))
        thread.start()
        self.let_all_go()
        thread.join()
        assert freed == [True]
        self.settle()
        self.pool.stats()  # sees that the others are free
        assert not self.pool.wait_for_oldest()

    @rule()
    def trim(self) -> None:
        if DEVICE == "cuda":  # where unpinning waits for the device
            self.let_all_go()
            self.settle()
        self.pool.trim()
        if not self.live and not self.deferred:
            stats = self.pool.stats()
            assert stats["pinned_bytes"] + stats["pageable_bytes"] == 0

    # ------------------------------------------------------------------ what holds after each

    @invariant()
    def the_books_are_right(self) -> None:
        self.pool.check_invariants()
        stats = self.pool.stats()
        taken = [*self.live, *(d.held for d in self.deferred)]
        assert stats["live_bytes"] == sum(held.taken() for held in taken)
        assert stats["live_bytes"] <= stats["pinned_bytes"] + stats["pageable_bytes"] <= CAP
        assert stats["live_bytes"] <= stats["peak_live_bytes"] <= stats["peak_slab_bytes"] <= CAP
        assert stats["hits"] + stats["misses"] == self.acquired
        assert stats["refusals"] == self.refused
        assert stats["pin_failures"] == self.pin_failures

    @invariant()
    def no_two_buffers_share_a_byte(self) -> None:
        held = [*self.live, *(d.held for d in self.deferred)]
        ranges = sorted(r for h in held for r in h.ranges)
        for (begin, size), (following, _) in itertools.pairwise(ranges):
            assert begin + rounded(size) <= following

    @invariant()
    def what_was_written_is_still_there(self) -> None:
        for held in self.live:
            self.check_content(held)

    # ------------------------------------------------------------------ helpers

    def let_all_go(self) -> None:
        for brake in self.brakes.values():
            brake.close()
        self.brakes.clear()

    def pick(self, data: st.DataObject) -> Held:
        return self.live.pop(data.draw(st.integers(0, len(self.live) - 1)))

    def settle(self) -> None:
        """Streams that may run have run; what waited for no other is free."""
        for i, stream in enumerate(self.streams):
            if i not in self.brakes:
                stream.synchronize()
        for deferred in self.deferred:
            deferred.behind &= self.brakes.keys()
        done = [d for d in self.deferred if not d.behind]
        self.deferred = [d for d in self.deferred if d.behind]
        for deferred in done:
            self.check_copies(deferred.held)

    def check_content(self, held: Held) -> None:
        for tensor in held.buffer.tensors():
            assert bool((tensor == held.content).all())

    def check_copies(self, held: Held) -> None:
        for copy in held.arrived:
            assert bool((copy.cpu() == held.content).all()), "the buffer was reused under a copy"


@pytest.mark.timeout(0 if budget(1).max_examples > 1 else 120)
def test_the_pool_is_its_model(device: str, say_at_the_end: Callable[[str], None]) -> None:
    needs_control("holds streams and lets pinning fail")
    run_state_machine_as_test(PoolMachine, settings=budget(150, steps=40))
    say_at_the_end(PoolMachine.said())


def test_a_tensor_keeps_its_buffer_taken(device: str) -> None:
    pool = _C.PinnedMemoryPool(torch.device(device), SLAB, CAP)
    buffer = pool.try_acquire(1000)
    assert buffer is not None
    tensor = buffer.tensor()
    with pytest.raises(RuntimeError, match=r"1000 bytes still lives: drop it first"):
        pool.recycle_after(buffer, [torch.accelerator.current_stream()])
    buffer.release()
    assert pool.stats()["live_bytes"] == 1024
    del tensor
    assert pool.stats()["live_bytes"] == 0


def test_a_buffer_outlives_its_pool(device: str) -> None:
    pool = _C.PinnedMemoryPool(torch.device(device), SLAB, CAP)
    buffer = pool.try_acquire(1000)
    assert buffer is not None
    tensor = buffer.tensor().fill_(7)
    del pool, buffer
    assert bool((tensor == 7).all())


def test_a_pool_of_the_cpu_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match="belongs to an accelerator, got cpu"):
        _C.PinnedMemoryPool(torch.device("cpu"), SLAB, CAP)
