"""Streams run behind the host's back, and events order them."""

import threading

import pytest
import torch


def test_streams_are_distinct():
    streams = [torch.Stream(device="sim") for _ in range(32)]
    assert len({s.stream_id for s in streams}) == 32
    assert all(s.stream_id != torch.accelerator.current_stream().stream_id for s in streams)


def test_streams_without_a_priority_never_meet_urgent_ones():
    ordinary = {torch.Stream("sim").stream_id for _ in range(200)}
    urgent = {torch.Stream("sim", priority=-1).stream_id for _ in range(200)}
    assert not ordinary & urgent
    assert torch.accelerator.current_stream().stream_id not in ordinary | urgent


def test_kernels_of_a_stream_run_in_order(sim, stream):
    with stream, sim.hold():
        x = torch.zeros(1000, device="sim")
        for _ in range(50):
            x.mul_(2).add_(1)
            x.fmod_(97)
        assert not stream.query()
    stream.synchronize()
    expected = 0
    for _ in range(50):
        expected = (expected * 2 + 1) % 97
    assert x.eq(expected).all().item()


def test_host_does_not_wait_for_kernels(sim):
    x = torch.ones(8, device="sim")
    y = x + x  # learns nothing: its shape is known beforehand
    with sim.hold():
        y = (x + x).relu() @ torch.ones(8, 8, device="sim")
        assert not torch.accelerator.current_stream().query()
    assert y.cpu().eq(16).all()


def test_a_held_stream_does_not_stop_another(sim, stream):
    with sim.hold(stream):
        with stream:
            late = torch.ones(4, device="sim") * 3
        assert (torch.ones(4, device="sim") * 2).sum().item() == 8
        assert not stream.query()
    stream.synchronize()
    assert late.sum().item() == 12


def test_query_is_true_only_after_the_last_task(sim, stream):
    sim.configure(d2h="200MB/s")
    source = torch.arange(1 << 18, device="sim", dtype=torch.int32)
    expected = source.cpu()
    for _ in range(10):
        target = torch.zeros(1 << 18, dtype=torch.int32, pin_memory=True)
        with stream:
            target.copy_(source, non_blocking=True)
        while not stream.query():
            pass
        assert torch.equal(target, expected)


def test_waiting_stream_starts_after_the_event(sim, stream):
    other = torch.Stream(device="sim")
    x = torch.zeros(64, device="sim")
    torch.accelerator.synchronize()
    with sim.hold(stream):
        with stream:
            x.fill_(5)
        event = stream.record_event()
        other.wait_event(event)
        with other:
            y = x + 1
        assert not event.query()
        assert not other.query()
    other.synchronize()
    assert event.query()
    assert y.eq(6).all().item()


def test_recording_again_does_not_release_an_earlier_waiter(sim, stream):
    waiter, idle = torch.Stream(device="sim"), torch.Stream(device="sim")
    event = torch.Event("sim")
    with sim.hold(stream):
        event.record(stream)
        waiter.wait_event(event)
        event.record(idle)
        idle.synchronize()
        assert event.query()  # its last record is over
        assert not waiter.query()  # the one it waits for is not
    waiter.synchronize()


def test_recording_again_does_not_prolong_an_earlier_wait(sim, stream):
    waiter = torch.Stream(device="sim")
    event = torch.Event("sim")
    event.record()
    waiter.wait_event(event)
    with sim.hold(stream):
        event.record(stream)
        waiter.synchronize()
        assert not event.query()
    event.synchronize()


def test_an_event_never_recorded_is_over(stream):
    event = torch.Event("sim")
    assert event.query()
    stream.wait_event(event)
    event.synchronize()
    stream.synchronize()


def test_elapsed_time_spans_the_work_between_two_events(sim, stream):
    sim.configure(d2h="100MB/s")
    source = torch.zeros(5_000_000 // 4, device="sim")
    target = torch.zeros(source.shape, pin_memory=True)
    begin, end = (torch.Event("sim", enable_timing=True) for _ in range(2))
    torch.accelerator.synchronize()
    with stream:
        begin.record()
        target.copy_(source, non_blocking=True)
        end.record()
    stream.synchronize()
    assert begin.elapsed_time(end) >= 50


def test_a_stream_is_idle_once_its_last_event_is_reached(stream):
    for _ in range(3000):
        event = stream.record_event()
        event.synchronize()
        assert stream.query()
        event = stream.record_event()
        while not event.query():
            pass
        assert stream.query()


def test_the_launch_queue_blocks_the_host_instead_of_growing(sim, stream):
    done = threading.Event()

    def issue():
        with stream:
            x = torch.zeros(1, device="sim")
            for _ in range(3000):
                x.add_(1)
            done.result = x
        done.set()

    with sim.hold(stream):
        thread = threading.Thread(target=issue)
        thread.start()
        assert not done.wait(0.3)
    thread.join()
    stream.synchronize()
    assert done.result.item() == 3000


def test_backward_runs_on_the_forwards_stream(stream):
    seen = []

    class Spy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            seen.append((torch.accelerator.current_stream(), threading.get_ident()))
            return grad

    x = torch.ones(3, device="sim", requires_grad=True)
    stream.wait_stream(torch.accelerator.current_stream())
    with stream:
        loss = Spy.apply(x).sum()
    loss.backward()
    torch.accelerator.synchronize()
    assert seen[0][0] == stream
    assert seen[0][1] != threading.get_ident()


def test_a_kernels_error_surfaces_at_the_next_synchronisation(stream):
    table = torch.ones(4, 2, device="sim")
    index = torch.tensor([1, 99], device="sim")
    torch.index_select(table, 0, index.clamp(max=3))  # its shape is known from here on
    torch.accelerator.synchronize()
    torch.index_select(table, 0, index)
    with pytest.raises(RuntimeError, match=r"sim: kernel aten::index_select failed: .*out of range"):
        torch.accelerator.synchronize()
    assert (table + 1).sum().item() == 16  # the device goes on


def test_synchronous_mode_raises_at_the_call(sim):
    sim.configure(synchronous=True)
    table = torch.ones(4, 2, device="sim")
    with pytest.raises((RuntimeError, IndexError), match="out of range"):
        torch.index_select(table, 0, torch.tensor([99], device="sim"))


def test_threads_have_current_streams_of_their_own(stream):
    seen = {}
    with stream:
        thread = threading.Thread(target=lambda: seen.update(other=torch.accelerator.current_stream().stream_id))
        thread.start()
        thread.join()
        assert torch.accelerator.current_stream() == stream
    assert seen["other"] == 0
