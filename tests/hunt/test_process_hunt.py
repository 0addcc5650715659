"""Ends, forks and Ctrl-C at bad moments. Each in a process of its own.

Not here: exit while daemon threads train, for which torch itself aborts ("terminate called"), on the CPU too.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.machine import needs_control

PREPARE = """
import os, signal, threading, time
import torch
import pamiq_storm
from pamiq_storm import sim
from tests.machine import DEVICE, start
torch.set_num_threads(1)
start(memory="1GiB", d2h="200MB/s", h2d="200MB/s")
signal.signal(signal.SIGINT, signal.default_int_handler)  # as on a terminal
config = pamiq_storm.OffloadConfig(
    min_bytes=1024, window_bytes="1MiB", prefetch_bytes="256KiB", keep_last_bytes=0, slab_bytes="1MiB"
)
torch.manual_seed(0)
model = torch.nn.Sequential(*(layer for _ in range(4) for layer in (torch.nn.Linear(128, 128), torch.nn.Tanh())))
model = model.to(DEVICE)
x = torch.randn(256, 128).to(DEVICE)
storm = pamiq_storm.offload(model, config)

def gradients(context=storm, model=model):
    with context:
        loss = model(x).square().sum()
    return torch.autograd.grad(loss, list(model.parameters()))

def on_host(tensors):
    return [t.cpu() for t in tensors]

expected = on_host(gradients(torch.enable_grad()))

def check(context=storm):
    "The next step is right, and nothing of the steps before is left."
    ours = on_host(gradients(context))
    assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))
    torch.accelerator.synchronize()
    assert context.system.stats().host_bytes == 0, context.system.stats()
    context.system._engine.check_invariants()
    assert context.stats().offloaded_tensors > 0

check()
"""


@pytest.fixture(autouse=True)
def _simulator(device: str) -> None:
    needs_control("holds streams")


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        # Python 3.12 warns of any fork beside threads, and a device always has some.
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", PREPARE + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=100,
    )


def is_clean(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("held", [0, 1], ids=["to the host", "to the device"])
def test_exit_while_a_transfer_stream_stands_still(held: int) -> None:
    is_clean(
        run(f"""
        hold = sim.hold(storm.system.streams[{held}])
        hold.__enter__()
        with storm:
            losses = [model(x).square().sum() for _ in range(2)]
        losses.pop().backward()
        """)
    )


def test_exit_inside_everything_at_once() -> None:
    is_clean(
        run("""
        storm.__enter__()
        kept = [model(x).square().sum() for _ in range(3)]
        handle = pamiq_storm.offload_activation_to_cpu(x, 0, storm.system)
        kept[0].backward(retain_graph=True)
        cycle = [kept]
        cycle.append(cycle)
        raise SystemExit
        """)
    )


def test_an_exception_in_forward_is_all_that_is_said_at_exit() -> None:
    done = run("""
        with storm:
            loss = model(x).square().sum()
            raise KeyError("mine")
        """)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "KeyError: 'mine'"
    assert done.stderr.count("Traceback") == 1


def test_fork_while_copies_run() -> None:
    """The child ends and is told that it has no device; the parent's copies go on."""
    is_clean(
        run("""
        with storm:
            loss = model(x).square().sum()
        child = os.fork()
        if child == 0:
            for use in (lambda: loss.backward(), lambda: gradients(), lambda: torch.ones(1, device=DEVICE).cpu()):
                try:
                    use()
                except RuntimeError as error:
                    assert "fork" in str(error), error
                else:
                    os._exit(9)
            del loss
            raise SystemExit(7)  # through all that runs at exit
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7, status
        ours = on_host(torch.autograd.grad(loss, list(model.parameters())))
        assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))
        del loss
        check()
        """)
    )


def test_fork_while_other_threads_train() -> None:
    """Locks that were held at the fork are nobody's in the child: it must not need them to end."""
    is_clean(
        run("""
        stop = threading.Event()
        def train():
            while not stop.is_set():
                gradients()
        threads = [threading.Thread(target=train) for _ in range(2)]
        for thread in threads:
            thread.start()
        for _ in range(4):
            child = os.fork()
            if child == 0:
                raise SystemExit(7)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 7, status
        stop.set()
        for thread in threads:
            thread.join()
        check()
        """)
    )


def test_ctrl_c_in_forward_and_in_backward() -> None:
    is_clean(
        run("""
        def interrupt(*_):
            os.kill(os.getpid(), signal.SIGINT)

        class Interrupts(torch.nn.Module):
            def forward(self, y):
                interrupt()
                return y

        for part in ("forward", "backward"):
            for _ in range(3):
                try:
                    with storm:
                        y = model[:4](x)
                        if part == "forward":
                            y = Interrupts()(y)
                        else:
                            y.register_hook(interrupt)
                        loss = model[4:](y).square().sum()
                    torch.autograd.grad(loss, list(model.parameters()))
                    time.sleep(10)
                except KeyboardInterrupt:
                    pass
                else:
                    raise AssertionError(part)
                loss = y = None
                check()
        """)
    )


def test_ctrl_c_at_any_moment() -> None:
    is_clean(
        run("""
        main = threading.main_thread().ident
        for i in range(20):
            timer = threading.Timer(0.001 * i, lambda: signal.pthread_kill(main, signal.SIGINT))
            try:
                timer.start()
                while True:
                    gradients()
            except KeyboardInterrupt:
                pass
            timer.join()
            check()
        """)
    )


def test_ctrl_c_while_waiting_for_host_memory() -> None:
    """The wait itself can't be broken off, but the interrupt is not lost and the next step is right."""
    is_clean(
        run("""
        small = pamiq_storm.offload(
            model,
            pamiq_storm.OffloadConfig(
                min_bytes=1024, window_bytes="1MiB", prefetch_bytes=0, keep_last_bytes=0, slab_bytes="128KiB",
                host_bytes="512KiB",
            ),
        )
        check(small)
        hold = sim.hold(small.system.streams[1])
        hold.__enter__()
        gradients(small)  # queued: what it brought back is still being read from the host
        main = threading.main_thread().ident

        def interrupt_and_let_go():
            time.sleep(0.2)
            signal.pthread_kill(main, signal.SIGINT)
            time.sleep(0.2)
            hold.__exit__(None, None, None)

        thread = threading.Thread(target=interrupt_and_let_go)
        thread.start()
        try:
            gradients(small)  # waits for host memory
            time.sleep(10)
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("the interrupt was lost")
        thread.join()
        check(small)
        """)
    )
