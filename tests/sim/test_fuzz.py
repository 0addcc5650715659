"""A seed is a schedule: the same one brings the same delays, others bring other orders."""

import time

import pytest
import torch

from pamiq_storm import sim as simulator


def work(steps=20):
    """Two streams that take turns by events; returns a result that depends on their order."""
    first, second = torch.Stream(device="sim"), torch.Stream(device="sim")
    x = torch.zeros(8, device="sim")
    host = torch.zeros(8, pin_memory=True)
    torch.accelerator.synchronize()
    for _ in range(steps):
        with first:
            x.add_(1)
        second.wait_event(first.record_event())
        with second:
            x.mul_(3).fmod_(1009)
            host.copy_(x, non_blocking=True)
        first.wait_event(second.record_event())
    torch.accelerator.synchronize()
    return host[0].item()


def delays(seed, max_delay="200us"):
    with simulator.fuzz(seed, max_delay) as fuzz:
        work()
        return fuzz.delay_s


def test_the_same_seed_gives_the_same_delays():
    assert delays(3) == delays(3) > 0


def test_other_seeds_give_other_delays():
    assert len({delays(seed) for seed in range(5)}) == 5


def test_correct_programs_compute_the_same_under_every_seed():
    expected = work()
    for seed in range(20):
        with simulator.fuzz(seed):
            assert work() == expected


@pytest.mark.races_on_purpose  # it is about a race
def test_orders_that_no_event_fixes_really_differ(sim):
    def race():
        streams = [torch.Stream(device="sim") for _ in range(2)]
        x = torch.zeros(1, device="sim")
        torch.accelerator.synchronize()
        for value, stream in enumerate(streams, start=1):
            with stream:
                x.fill_(value)
        torch.accelerator.synchronize()
        return x.item()

    winners = set()
    for seed in range(60):
        with sim.fuzz(seed, "5ms"):
            winners.add(race())
    assert winners == {1.0, 2.0}


def test_delays_stay_below_the_longest(sim):
    with sim.fuzz(1, "100us") as fuzz:
        x = torch.zeros(1, device="sim")
        for _ in range(200):
            x.add_(1)
        assert 0 < fuzz.delay_s < 200 * 100e-6 / 4  # few are long
        torch.accelerator.synchronize()


@pytest.mark.races_on_purpose  # the bytes are looked at to learn that the copy is over
def test_a_query_may_be_late_but_never_goes_back(sim):
    late, device, host = 0, torch.ones(1, device="sim"), torch.zeros(1, pin_memory=True)
    torch.accelerator.synchronize()
    for seed in range(40):
        with sim.fuzz(seed, "20ms"):
            event = torch.Event("sim")
            event.record()
            while not torch.accelerator.current_stream().query():  # also tells the host
                pass
            assert event.query()
            event.record()
            host.zero_()
            host.copy_(device, non_blocking=True)
            while host[0] == 0:  # nothing but the bytes tells the host that the event is past
                pass
            answers = [event.query() for _ in range(50)]
            assert answers == sorted(answers)
            late += not answers[0]
            torch.accelerator.synchronize()
            assert event.query()
    assert late > 0


def test_after_the_context_nothing_is_late(sim):
    with sim.fuzz(1, "10s"):
        event = torch.Event("sim")
        event.record()
    torch.accelerator.current_stream().synchronize()
    assert event.query()
    start = time.perf_counter()
    work()
    assert time.perf_counter() - start < 5


def test_the_object_says_how_to_replay(sim):
    with sim.fuzz(42, "1ms") as fuzz:
        assert fuzz.seed == 42
        assert repr(fuzz) == "pamiq_storm.sim.fuzz(seed=42, max_delay='1ms')"
    with sim.fuzz(7, 0.0005) as fuzz:
        assert repr(fuzz) == "pamiq_storm.sim.fuzz(seed=7, max_delay='500us')"


def test_one_fuzz_at_a_time(sim):
    with sim.fuzz(1), pytest.raises(RuntimeError, match="already"), sim.fuzz(2):
        pass
    with sim.fuzz(2):
        pass


@pytest.mark.parametrize("nonsense", ["fast", "3", "-1us", -0.5, float("nan")])
def test_nonsense_is_not_a_delay(sim, nonsense):
    with pytest.raises(ValueError, match="max_delay"), sim.fuzz(1, nonsense):
        pass
