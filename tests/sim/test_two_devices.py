"""Two devices: each has its streams, memory, random numbers and faults. Each test has its own process, since the number
of devices is fixed when the simulator is first enabled."""

import subprocess
import sys
import textwrap

import pytest

SETUP = """
import io
import torch
from pamiq_storm import sim
sim.enable(devices=2, memory="64MiB", d2h=None, h2d=None)
MIB = 1 << 20
first, second = torch.device("sim:0"), torch.device("sim:1")

def refuses(words, call):
    try:
        call()
    except RuntimeError as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"{words}: nothing was raised")
"""

CASES = {
    "copies keep the order of both streams": """
        streams = torch.Stream(device=first), torch.Stream(device=second)
        x = torch.zeros(1 << 16, device=first)
        y = torch.zeros(1 << 16, device=second)
        torch.accelerator.synchronize(0), torch.accelerator.synchronize(1)
        with streams[0], sim.hold(streams[0]):
            x.fill_(5)
            with torch.accelerator.device_index(1), streams[1]:
                y.copy_(x, non_blocking=True)
                y.add_(1)
                assert not streams[1].query()
        streams[1].synchronize()
        assert y.eq(6).all().item()
    """,
    "copies between all pairs": """
        host = torch.randn(100, 7)
        for a in (first, second):
            for b in (first, second):
                there = host.to(a).to(b)
                assert there.device == b
                assert torch.equal(there.cpu(), host)
                assert torch.equal(host.to(a).t().to(b).cpu(), host.t())
                assert torch.equal(host.to(a).to(b, torch.bfloat16).cpu(), host.bfloat16())
        x = torch.zeros(100, 7, device=second)
        x.copy_(host.to(first))
        assert torch.equal(x.cpu(), host)
    """,
    "results live where the arguments do, whatever is current": """
        x = torch.randn(8, 8, device=second)
        assert torch.accelerator.current_device_index() == 0
        for y in (x + 1, x @ x, x.relu_(), x.sum(), torch.empty_like(x), x.nonzero(), torch.cat([x, x])):
            assert y.device == second
        assert torch.accelerator.current_device_index() == 0
    """,
    "the current device is a scope and belongs to a thread": """
        import threading
        with torch.accelerator.device_index(1):
            assert torch.empty(1, device="sim").device == second
            assert torch.Stream(device="sim").device == second
            seen = []
            thread = threading.Thread(target=lambda: seen.append(torch.accelerator.current_device_index()))
            thread.start()
            thread.join()
            assert seen == [0]
        assert torch.empty(1, device="sim").device == first
        torch.accelerator.set_device_index(1)
        assert torch.empty(1, device="sim").device == second
    """,
    "current streams are per device": """
        stream = torch.Stream(device=second)
        with torch.accelerator.device_index(1), stream:
            assert torch.accelerator.current_stream(1) == stream
            assert torch.accelerator.current_stream(0) != stream
            with sim.hold(stream):
                y = torch.ones(4, device=second) + 1
                x = torch.ones(4, device=first) + 1
                assert x.sum().item() == 8
                assert not stream.query()
        stream.synchronize()
        assert y.sum().item() == 8
    """,
    "events order streams of different devices": """
        a, b = torch.Stream(device=first), torch.Stream(device=second)
        with sim.hold(a):
            event = a.record_event()
            b.wait_event(event)
            done = b.record_event()
            assert not done.query()
        done.synchronize()
        assert event.query()
    """,
    "synchronising one device does not wait for the other": """
        with sim.hold(torch.accelerator.current_stream(1)):
            y = torch.ones(4, device=second)
            torch.accelerator.synchronize(0)
            assert not torch.accelerator.current_stream(1).query()
        assert y.sum().item() == 4
    """,
    "each has a limit of its own": """
        held = torch.empty(50 * MIB, dtype=torch.uint8, device=first)
        refuses("sim:0 out of memory", lambda: torch.empty(20 * MIB, dtype=torch.uint8, device=first))
        other = torch.empty(50 * MIB, dtype=torch.uint8, device=second)
        assert torch.accelerator.memory_allocated(0) == torch.accelerator.memory_allocated(1) == 50 * MIB
        del held
        torch.accelerator.empty_cache()
        assert torch.accelerator.memory_reserved(0) == 0
        assert torch.accelerator.memory_reserved(1) == 50 * MIB
        refuses("sim:1 out of memory", lambda: torch.empty(20 * MIB, dtype=torch.uint8, device=second))
    """,
    "each has random numbers of its own": """
        torch.manual_seed(7)
        a = torch.randn(10, device=first)
        b = torch.randn(10, device=second)
        assert torch.equal(a.cpu(), b.cpu())  # the same seed, the same offset
        state = torch.sim.get_rng_state(1)
        torch.randn(10, device=first)
        assert torch.equal(torch.sim.get_rng_state(1), state)
        expected = torch.randn(10, device=second)
        torch.sim.set_rng_state(state, 1)
        assert torch.equal(torch.randn(10, device=second), expected)
        with torch.random.fork_rng([0, 1], device_type="sim"):
            torch.randn(10, device=second)
            before = torch.sim.get_rng_state(0)
        torch.sim.manual_seed_all(3)
        assert torch.equal(torch.sim.get_rng_state(0), torch.sim.get_rng_state(1))
        generator = torch.Generator(second).manual_seed(5)
        assert torch.rand(3, device=second, generator=generator).device == second
    """,
    "tensors are loaded onto another device": """
        saved = io.BytesIO()
        torch.save({"x": torch.arange(5, device=second), "y": torch.ones(2)}, saved)
        for where, expected in (("sim:0", first), (None, second), ("cpu", torch.device("cpu"))):
            saved.seek(0)
            loaded = torch.load(saved, map_location=where, weights_only=True)
            assert loaded["x"].device == expected
            assert loaded["x"].tolist() == [0, 1, 2, 3, 4]
        saved.seek(0)
        moved = torch.load(saved, map_location={"sim:1": "sim:0"}, weights_only=True)
        assert moved["x"].device == first
    """,
    "a model may span both": """
        lower, upper = torch.nn.Linear(8, 8).to(first), torch.nn.Linear(8, 8).to(second)
        x = torch.randn(4, 8)
        upper(lower(x.to(first)).relu().to(second)).square().sum().backward()
        reference = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8))
        reference[0].load_state_dict(lower.state_dict())
        reference[2].load_state_dict(upper.state_dict())
        reference(x).square().sum().backward()
        for layer, expected in ((lower, reference[0]), (upper, reference[2])):
            assert torch.allclose(layer.weight.grad.cpu(), expected.weight.grad, rtol=1e-5, atol=1e-6)
        parameters = [*lower.parameters(), *upper.parameters()]
        expected = torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
        assert torch.allclose(torch.nn.utils.clip_grad_norm_(parameters, 0.5, foreach=True).cpu(), expected)
    """,
    "tensors of two devices do not mix": """
        x, y = torch.ones(3, device=first), torch.ones(3, device=second)
        refuses("device", lambda: x + y)
        refuses("expects all tensors on sim:0", lambda: torch.cat([x, y]))
        refuses("there is no device 2", lambda: torch.ones(1, device="sim:2"))
        assert (x + torch.tensor(2.0)).sum().item() == 9
    """,
    "an error of one is not reported by the other": """
        x, y = torch.ones(3, device=first), torch.ones(3, device=second)
        torch.accelerator.synchronize(0), torch.accelerator.synchronize(1)
        with sim.inject(task=1):
            y.add_(1)
        torch.accelerator.synchronize(0)
        refuses("injected", lambda: torch.accelerator.synchronize(1))
    """,
    "losing one leaves the other": """
        x, y = torch.ones(3, device=first), torch.ones(3, device=second)
        torch.accelerator.synchronize(0), torch.accelerator.synchronize(1)
        with sim.inject(lose_device=1):
            y.add_(1)
            refuses("sim:1 is lost", lambda: torch.accelerator.synchronize(1))
            refuses("sim:1 is lost", lambda: y.to(first))
            assert (x + 1).sum().item() == 6
        assert (y * 0).sum().item() == 0
    """,
}


@pytest.mark.parametrize("name", CASES)
def test_two_devices(name):
    code = SETUP + textwrap.dedent(CASES[name])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.stderr == ""
    assert done.returncode == 0
