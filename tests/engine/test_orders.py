"""Each order the engine owes to an event, with the stream it must wait for standing still.

A held stream makes the race certain: without the wait the other side has long run when the hold ends.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pamiq_storm import OffloadConfig, StormSystem, fetch_activation_from_cpu, offload, offload_activation_to_cpu, sim
from tests.machine import DEVICE, needs_control

ITEMS = 10 * (1 << 20) // 4  # 10 MiB: each tensor is a segment of its own, so a freed one is the next one's memory
BYTES = ITEMS * 4
ROUNDS = 40  # of work elsewhere, while something may run that must not

Give = Callable[[torch.Stream], None]


@pytest.fixture(autouse=True)
def _nothing_cached(device: str) -> None:
    needs_control("holds streams back")
    gc.collect()
    torch.accelerator.synchronize()
    torch.accelerator.empty_cache()


@pytest.fixture
def give_time(device: str) -> Give:
    """Lets a stream go on until it is idle; one that must wait has then had the time of many copies and kernels."""
    side = torch.Stream(device=device)
    here, there = torch.zeros(1 << 18).pin_memory(), torch.zeros(1 << 18, device=device)
    torch.accelerator.synchronize()

    def give(stream: torch.Stream) -> None:
        for _ in range(ROUNDS):
            if stream.query():
                return
            with side:
                there.copy_(here, non_blocking=True)
                here.copy_(there.add_(1.0), non_blocking=True)
            side.synchronize()

    return give


def system_with(**bounds: int) -> StormSystem:
    """Whatever is not named is nothing."""
    return StormSystem(DEVICE, config_with(**bounds))


def config_with(**bounds: int) -> OffloadConfig:
    nothing = {"window_bytes": 0, "prefetch_bytes": 0, "keep_last_bytes": 0}
    return OffloadConfig(**{"min_bytes": 1024, "slab_bytes": "64MiB", **nothing, **bounds})  # type: ignore[arg-type]


def filled(value: float) -> Tensor:
    """There on the device, nothing under way."""
    made = torch.full((ITEMS,), value).to(DEVICE)
    torch.accelerator.synchronize()
    return made


def on_device() -> int:
    """Tensors of our size."""
    return round(torch.accelerator.memory_allocated() / BYTES)


def holds(tensor: Tensor, value: float) -> bool:
    return bool((tensor.cpu() == value).all())


def compute() -> torch.Stream:
    return torch.accelerator.current_stream()


def save(system: StormSystem, value: float) -> object:
    """A handle whose copy is over; the tensor is gone."""
    handle = offload_activation_to_cpu(filled(value), 0, system)
    torch.accelerator.synchronize()
    return handle


def fetch(handle: object) -> Tensor:
    return fetch_activation_from_cpu(handle)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- out


def test_a_copy_out_waits_for_the_kernel_that_fills_the_tensor(give_time: Give) -> None:
    system = system_with()
    x = filled(1.0)
    with sim.hold():
        handle = offload_activation_to_cpu(x * 3.0, 0, system)
        give_time(system.streams[0])
    assert holds(fetch(handle), 3.0)


def test_a_copy_out_stands_on_a_stream_of_its_own() -> None:
    """While it stands still compute goes on, and the window holds what is being copied."""
    system = system_with(window_bytes=2 * BYTES)
    x = filled(1.0)
    assert on_device() == 1
    with sim.hold(system.streams[0]):
        first = offload_activation_to_cpu(x * 3.0, 0, system)
        y = x * 2.0
        compute().synchronize()
        assert holds(y, 2.0)
        fetch(first)  # looks for copies that are over
        assert on_device() == 3
    system.streams[0].synchronize()
    fetch(first)
    assert on_device() == 2


def test_memory_let_go_by_the_window_is_free_behind_its_copy(give_time: Give) -> None:
    system = system_with()
    x = filled(3.0)
    place = x.data_ptr()
    with sim.hold(system.streams[0]):
        handle = offload_activation_to_cpu(x, 0, system)
        del x
        y = torch.empty(ITEMS, device=DEVICE).fill_(9.0)
        assert y.data_ptr() == place
        give_time(compute())
    assert holds(fetch(handle), 3.0)
    assert holds(y, 9.0)


def test_the_window_holds_exactly_its_bytes() -> None:
    system = system_with(window_bytes=2 * BYTES)
    with sim.hold(system.streams[0]):
        kept = []
        for held in (1, 2, 2, 2):
            kept.append(offload_activation_to_cpu(filled_unwaited(3.0), 0, system))
            assert on_device() == held
        big = torch.empty(2 * ITEMS, device=DEVICE).fill_(5.0)
        kept.append(offload_activation_to_cpu(big, 0, system))  # takes the place of two
        del big
        assert on_device() == 2
    for handle, value in zip(kept, [3.0] * 4 + [5.0], strict=True):
        assert holds(fetch(handle), value)


def filled_unwaited(value: float) -> Tensor:
    return torch.empty(ITEMS, device=DEVICE).fill_(value)


def test_a_copy_is_over_when_its_bytes_are_there() -> None:
    """Not when it starts: the event that everybody waits for stands behind it."""
    system = system_with()
    x = filled(3.0)
    d2h, _ = system.streams
    with sim.stall(d2h, 50.0):
        handle = offload_activation_to_cpu(x, 0, system)
        compute().synchronize()  # the window let go: compute waits for the copy
        assert d2h.query()
        x.data.fill_(9.0)
        del x
    assert holds(fetch(handle), 3.0)


def test_a_buffer_in_pieces_is_whole() -> None:
    system = system_with(slab_bytes=1 << 20)
    x = torch.arange(ITEMS, dtype=torch.float32).to(DEVICE)
    handle = offload_activation_to_cpu(x, 0, system)
    assert system.stats().pool_misses == 1
    del x
    assert torch.equal(fetch(handle).cpu(), torch.arange(ITEMS, dtype=torch.float32))


# ---------------------------------------------------------------------- back


def test_a_copy_back_waits_until_its_memory_is_free(give_time: Give) -> None:
    """The block is freed in compute's order; kernels queued before still read it."""
    system = system_with()
    handle = save(system, 3.0)
    x = filled(1.0)
    place = x.data_ptr()
    y = torch.zeros(ITEMS, device=DEVICE)
    torch.accelerator.synchronize()
    with sim.hold():
        y.add_(x)
        del x
        back = fetch(handle)
        assert back.data_ptr() == place
        give_time(system.streams[1])
    assert holds(y, 1.0)
    assert holds(back, 3.0)


def test_a_copy_back_waits_for_the_copy_out(give_time: Give) -> None:
    system = system_with()
    x = filled(3.0)
    with sim.hold(system.streams[0]):
        handle = offload_activation_to_cpu(x, 0, system)
        del x
        back = fetch(handle)
        give_time(system.streams[1])
    assert holds(back, 3.0)


def test_the_taker_waits_for_the_bytes_to_arrive(give_time: Give) -> None:
    system = system_with()
    handle = save(system, 3.0)
    with sim.hold(system.streams[1]):
        y = fetch(handle) * 2.0
        give_time(compute())
    assert holds(y, 6.0)


def test_a_copy_back_stands_on_a_stream_of_its_own(give_time: Give) -> None:
    system = system_with()
    handle = save(system, 3.0)
    with sim.hold(system.streams[1]):
        back = fetch(handle)
        give_time(compute())
        assert not compute().query()
    assert holds(back, 3.0)


def test_a_host_range_is_reused_behind_the_copies_that_read_it() -> None:
    system, side = system_with(), torch.Stream(device=DEVICE)
    handle = save(system, 3.0)
    other = filled(9.0)
    with sim.hold(system.streams[1]):
        back = fetch(handle)
        del handle
        with side:  # compute waits for the copy back
            second = offload_activation_to_cpu(other, 0, system)
        system.streams[0].synchronize()
    assert holds(back, 3.0)
    assert holds(fetch(second), 9.0)


def test_a_buffer_is_taken_until_all_its_events_are_done() -> None:
    from pamiq_storm import _C

    pool = _C.PinnedMemoryPool(torch.device(DEVICE, 0), 64 * 1024, 512 * 1024)
    first, second = torch.Stream(device=DEVICE), torch.Stream(device=DEVICE)
    for held in (first, second):
        buffer = pool.try_acquire(4096)
        assert buffer is not None
        with sim.hold(held):
            pool.recycle_after(buffer, [first, second])
            (second if held is first else first).synchronize()
            assert pool.stats()["live_bytes"] == 4096
        held.synchronize()
        assert pool.stats()["live_bytes"] == 0


def test_out_of_memory_in_a_fetch_gives_up_what_is_held_and_tries_again() -> None:
    system = system_with(window_bytes=2 * BYTES)
    first = save(system, 3.0)
    with sim.hold(system.streams[0]):
        second = offload_activation_to_cpu(filled_unwaited(5.0), 0, system)
        with sim.inject(allocation=1) as counts:
            back = fetch(first)
        assert counts.allocation == 1
        assert on_device() == 1  # the window's went, this came
    assert holds(back, 3.0)
    assert holds(fetch(second), 5.0)


def test_waiting_for_host_memory_leaves_the_interpreter_to_others() -> None:
    """The thread that ends the wait needs it."""
    storm = offload(None, config_with(host_bytes=16 << 20, slab_bytes=16 << 20), device=DEVICE)  # one tensor's
    handle = save(storm.system, 3.0)
    x, other, result = torch.ones(1, device=DEVICE, requires_grad=True), filled(5.0), torch.zeros(1, device=DEVICE)
    torch.accelerator.synchronize()
    about_to_save = threading.Event()
    brake = sim.hold(storm.system.streams[1])
    brake.__enter__()
    back = fetch(handle)
    del handle  # its host memory is free behind the copy that stands still

    class Save(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[override]
            ctx.save_for_backward(other)
            about_to_save.set()
            return result

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
            return grad

    def let_go() -> None:
        about_to_save.wait()
        brake.__exit__(None, None, None)

    thread = threading.Thread(target=let_go)
    thread.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)  # the other thread gets the interpreter when it is given, not taken
    try:
        with storm:
            y = Save.apply(x)
    finally:
        sys.setswitchinterval(interval)
        about_to_save.set()  # the thread ends even if nothing was saved
        thread.join()
    assert y is not None
    assert storm.stats().offloaded_tensors == 2
    assert holds(back, 3.0)


# ---------------------------------------------------------------------- ahead


class Keep(torch.autograd.Function):
    """Saves a tensor beside the way from `x` to its result."""

    @staticmethod
    def forward(ctx, x: Tensor, kept: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(kept)
        return x.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (kept,) = ctx.saved_tensors
        return grad * kept[0], None


def chain(storm: offload, last: Tensor) -> list[Tensor]:
    """The results of three saves: of 1, of 2 and of `last`. Only the last one's bytes are on the device."""
    results = [torch.ones(1, device=DEVICE, requires_grad=True)]
    with storm:
        for kept in (filled(1.0), filled(2.0), last):
            results.append(Keep.apply(results[-1], kept))  # type: ignore[arg-type]
        del kept
    torch.accelerator.synchronize()
    storm.system._engine.trim()
    return results


def back_by_one(results: list[Tensor]) -> None:
    """Differentiates the last step only, and drops its graph."""
    torch.autograd.grad(results.pop(), results[-1])
    # autograd's thread holds a finished graph until it takes the next
    x = torch.ones(1, device=DEVICE, requires_grad=True)
    torch.autograd.grad(x * 2.0, x)


def test_a_prefetch_nobody_takes_is_freed_behind_its_copy(give_time: Give) -> None:
    storm = offload(None, config_with(prefetch_bytes=BYTES), device=DEVICE)
    last = filled(3.0)
    results = chain(storm, last)
    assert on_device() == 1
    with sim.hold(storm.system.streams[1]):
        back_by_one(results)  # takes `last`, which is here, and brings back what comes next
        assert on_device() == 2
        results.clear()
        assert on_device() == 1
        y = torch.empty(ITEMS, device=DEVICE).fill_(9.0)
        give_time(compute())
    torch.accelerator.synchronize()
    assert holds(y, 9.0)
    assert holds(last, 3.0)


def test_a_prefetch_nobody_will_take_leaves_the_device() -> None:
    """The handle is gone, the rest of its forward is not."""
    storm = offload(None, config_with(prefetch_bytes=BYTES), device=DEVICE)
    last = filled(3.0)
    results = chain(storm, last)
    back_by_one(results)
    assert on_device() == 2
    results.pop()
    assert on_device() == 1
    (gradient,) = torch.autograd.grad(results[1], results[0])
    assert gradient.item() == 1.0
    assert holds(last, 3.0)


def test_backward_finds_what_comes_next_on_its_way() -> None:
    storm = offload(None, config_with(prefetch_bytes=BYTES), device=DEVICE)
    results = chain(storm, filled(3.0))
    (gradient,) = torch.autograd.grad(results[-1], results[0])
    assert gradient.item() == 6.0
    stats = storm.stats()
    assert (stats.late_fetches, stats.fetched_tensors) == (1, 3)


# ---------------------------------------------------------------------- other streams


def test_memory_lent_to_another_stream_is_not_reused_under_it() -> None:
    system, side = system_with(), torch.Stream(device=DEVICE)
    handle = save(system, 3.0)
    with side:
        back = fetch(handle)
    side.synchronize()
    with sim.hold(side):
        with side:
            y = back * 2.0
        del back
        torch.empty(ITEMS, device=DEVICE).fill_(9.0)
        compute().synchronize()
    side.synchronize()
    assert holds(y, 6.0)


def test_memory_saved_again_on_another_stream_is_not_reused_under_it() -> None:
    storm, side = offload(None, config_with(), device=DEVICE), torch.Stream(device=DEVICE)
    x = torch.ones(ITEMS).to(DEVICE).requires_grad_()
    with storm:
        made = x * 1.0
        first = made.sin()
        torch.accelerator.synchronize()
        with sim.hold(side):
            with side:
                second = made.exp() + made.square()  # `square` saves what `sin` has saved
            assert storm.stats().shared_tensors == 1
            del made, first
            torch.empty(ITEMS, device=DEVICE).fill_(9.0)
            compute().synchronize()
        side.synchronize()
    expected = torch.ones(1).to(DEVICE)
    assert torch.equal(second[:1].cpu(), (expected.exp() + expected.square()).cpu())
