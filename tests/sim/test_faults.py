"""Faults asked for by number happen once, at that call, and look like a GPU's."""

import threading

import pytest
import torch

from pamiq_storm import sim as simulator

KINDS = ["allocation", "pinned", "copy", "task", "lose_device"]


def pinned(count, value=0.0):
    return torch.full((count,), value).pin_memory()


def test_the_nth_allocation_runs_out_of_memory_once(sim):
    with sim.inject(allocation=2) as faults:
        torch.empty(100, device="sim")
        with pytest.raises(torch.OutOfMemoryError, match="injected"):
            torch.empty(100, device="sim")
        assert torch.ones(100, device="sim").sum().item() == 100
        assert faults.allocation == 1


def test_the_nth_request_for_pinned_memory_fails_even_if_cached(sim):
    del_me = torch.empty(5000, pin_memory=True)
    del del_me
    with sim.inject(pinned=1) as faults:
        with pytest.raises(torch.OutOfMemoryError, match="cannot pin"):
            torch.empty(5000, pin_memory=True)
        assert torch.empty(5000, pin_memory=True).is_pinned()
    assert faults.pinned == 1


@pytest.mark.parametrize("up", [True, False], ids=["h2d", "d2h"])
def test_a_failed_copy_poisons_its_target_and_is_reported_later(sim, up):
    device, host = torch.ones(100, device="sim"), pinned(100, 2.0)
    target = device if up else host
    torch.accelerator.synchronize()
    with sim.inject(copy=2) as faults:
        torch.empty_like(device).copy_(host, non_blocking=True)
        target.copy_(host if up else device, non_blocking=True)
        with pytest.raises(RuntimeError, match=r"sim: kernel copy_(h2d|d2h) failed: injected"):
            torch.accelerator.synchronize()
        assert faults.copy == 1
    assert target.cpu().isnan().all()
    target.copy_(torch.ones(100))
    assert target.cpu().eq(1).all()


def test_a_failed_pageable_copy_raises_at_the_call(sim):
    device = torch.ones(100, device="sim")
    with sim.inject(copy=1), pytest.raises(RuntimeError, match="copy_d2h failed: injected"):
        device.cpu()


def test_a_failed_copy_poisons_only_what_it_would_have_written(sim):
    host = torch.zeros(4, 6).pin_memory()
    device = torch.ones(4, 3, device="sim")
    with sim.inject(copy=1), pytest.raises(RuntimeError, match="injected"):
        host[:, ::2].copy_(device)
    assert host[:, ::2].isnan().all()
    assert host[:, 1::2].eq(0).all()


def test_a_failed_kernel_does_not_run_and_the_first_error_is_kept(sim):
    x = torch.zeros(10, device="sim")
    torch.accelerator.synchronize()
    with sim.inject(task=2) as faults:
        x.add_(1)
        x.mul_(5)
        x.add_(1)
        with pytest.raises(RuntimeError, match=r"aten::mul\S* failed: injected .*later synchronisation"):
            torch.accelerator.synchronize()
        assert (faults.task, faults.copy) == (1, 0)
    assert x.cpu().eq(2).all()


def test_a_failed_kernel_with_a_result_for_the_host_raises_there(sim):
    x = torch.ones(3, device="sim")
    torch.accelerator.synchronize()
    with sim.inject(task=1), pytest.raises(RuntimeError, match="_local_scalar_dense failed: injected"):
        x[0].item()


def test_leaving_the_context_disarms_it(sim):
    for kind in KINDS:
        with sim.inject(**{kind: 3}) as faults:
            pass
        assert getattr(faults, kind) == 0
    x = torch.ones(5, device="sim")
    for _ in range(4):
        x = x.cpu().pin_memory().to("sim") + 1
    assert x.sum().item() == 25


def test_contexts_count_each_for_itself(sim):
    with sim.inject(allocation=2) as outer, sim.inject(allocation=1) as inner:
        for _ in range(2):
            with pytest.raises(torch.OutOfMemoryError):
                torch.empty(1, device="sim")
        assert (outer.allocation, inner.allocation) == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [0, -1, True])
def test_calls_are_counted_from_one(sim, kind, n):
    with pytest.raises(ValueError, match=kind), sim.inject(**{kind: n}):
        pass


class Touched:
    def __init__(self):
        self.stream, self.event, self.fresh = torch.Stream(device="sim"), torch.Event("sim"), torch.Event("sim")
        self.event.record()
        self.x, self.host = torch.ones(4, device="sim"), pinned(4)


def hold_for_a_moment(given):
    with simulator.hold(given.stream):
        pass


TOUCHES = {
    "allocation": lambda given: torch.empty(1, device="sim"),
    "pinned allocation": lambda given: torch.empty(1, pin_memory=True),
    "launch": lambda given: given.x.add_(1),
    "copy down": lambda given: given.host.copy_(given.x, non_blocking=True),
    "copy up": lambda given: given.x.copy_(given.host, non_blocking=True),
    "pageable copy": lambda given: given.x.cpu(),
    "scalar": lambda given: given.x[0].item(),
    "record": lambda given: given.fresh.record(),
    "wait": lambda given: given.stream.wait_event(given.event),
    "synchronize stream": lambda given: given.stream.synchronize(),
    "synchronize device": lambda given: torch.accelerator.synchronize(),
    "synchronize event": lambda given: given.event.synchronize(),
    "query event": lambda given: given.event.query(),
    "query stream": lambda given: given.stream.query(),
    "hold": hold_for_a_moment,
}


@pytest.mark.parametrize("name", TOUCHES)
def test_every_call_to_a_lost_device_raises_until_it_is_revived(sim, name):
    given, x = Touched(), torch.zeros(1, device="sim")
    torch.accelerator.synchronize()
    with sim.inject(lose_device=1) as faults:
        x.add_(1)
        assert faults.lose_device == 1
        for _ in range(2):
            with pytest.raises(RuntimeError, match="sim:0 is lost"):
                TOUCHES[name](given)
    TOUCHES[name](given)
    torch.accelerator.synchronize()


def test_freeing_on_a_lost_device_never_raises(sim, stream, capfd):
    before = torch.accelerator.memory_allocated()
    plain, shared, host = torch.ones(100, device="sim"), torch.ones(100, device="sim"), pinned(100)
    event, x = torch.Event("sim"), torch.zeros(1, device="sim")
    event.record()
    stream.wait_event(event)
    with stream:
        host.copy_(shared, non_blocking=True)
    shared.record_stream(stream)
    torch.accelerator.synchronize()
    with sim.inject(lose_device=1):
        x.add_(1)
        del plain, shared, host, event, x
    torch.accelerator.synchronize()
    assert torch.accelerator.memory_allocated() == before
    assert capfd.readouterr().err == ""


def test_what_had_not_started_on_a_lost_device_does_not_run(sim, stream):
    x = torch.zeros(10, device="sim")
    torch.accelerator.synchronize()
    with sim.hold(), sim.inject(lose_device=2):  # revived although something holds the stream
        x.add_(1)
        x.add_(1)
        with pytest.raises(RuntimeError, match="lost"):
            x.add_(1)
    assert x.cpu().eq(0).all()
    assert x.add_(1).cpu().eq(1).all()


def test_a_thread_waiting_for_a_device_learns_that_it_is_lost(sim, stream):
    x = torch.zeros(10, device="sim")
    torch.accelerator.synchronize()
    seen = []

    def wait(event):
        try:
            event.synchronize()
        except RuntimeError as error:
            seen.append(str(error))

    with sim.hold(stream), sim.inject(lose_device=1):
        waiter = threading.Thread(target=wait, args=[stream.record_event()])
        waiter.start()
        with stream:
            x.add_(1)
        waiter.join()
    assert "sim:0 is lost" in seen[0]


def test_a_stalled_stream_is_slow_and_others_are_not(sim, stream):
    sim.configure(d2h="100MB/s")
    source, target = torch.ones(250_000, device="sim"), pinned(250_000)
    torch.accelerator.synchronize()

    def seconds(on):
        begin, end = (torch.Event("sim", enable_timing=True) for _ in range(2))
        with on:
            begin.record()
            target.copy_(source, non_blocking=True)
            end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    other = torch.Stream(device="sim")
    with sim.stall(stream, 30):
        assert seconds(stream) >= 0.3
        assert seconds(other) < 0.3
    assert seconds(stream) < 0.3


def test_a_stream_cannot_be_stalled_into_haste(sim, stream):
    with pytest.raises(ValueError, match="at least 1"), sim.stall(stream, 0.5):
        pass
