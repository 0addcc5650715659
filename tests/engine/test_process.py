"""The engine and the process it lives in: start, fork, exit. Each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

PREPARE = """
import torch
import pamiq_storm
if torch.cuda.is_available():
    device = "cuda"
else:
    import pamiq_storm.sim
    pamiq_storm.sim.enable(memory="1GiB", d2h="50MB/s", h2d="50MB/s")
    device = "sim"
config = pamiq_storm.OffloadConfig(min_bytes=1024, window_bytes="8MiB", slab_bytes="1MiB")
model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.Tanh(), torch.nn.Linear(256, 256)).to(device)
x = torch.randn(1024, 256).to(device)
storm = pamiq_storm.offload(model, config)
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PREPARE + textwrap.dedent(script)], capture_output=True, text=True, timeout=100
    )


def test_exit_with_copies_in_flight_is_clean() -> None:
    done = run("""
        with storm:
            loss = model(x).sum()
        loss.backward()
        with storm:
            loss = model(x).sum()
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_exit_inside_a_context_is_clean() -> None:
    done = run("""
        storm.__enter__()
        loss = model(x).sum()
        handle = pamiq_storm.offload_activation_to_cpu(x, 0, storm.system)
    """)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_forked_child_ends() -> None:
    done = run("""
        import os
        with storm:
            model(x).sum().backward()
        torch.accelerator.synchronize()
        child = os.fork()
        if child == 0:
            # torch refuses autograd in a child of a process that ran it on a device; the child must say so and end
            y = torch.randn(4, requires_grad=True)
            try:
                (y * y).sum().backward()
            except RuntimeError as error:
                raise SystemExit(7 if "fork" in str(error) else 8)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7, status
    """)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_forked_child_ends_whatever_lock_was_held() -> None:
    done = run("""
        import os, signal, threading
        held, over = threading.Event(), threading.Event()
        def hold():
            with pamiq_storm._engine._lock:
                held.set()
                over.wait()
        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends a child that waits
            raise SystemExit(7)
        _, status = os.waitpid(child, 0)
        over.set()
        thread.join()
        assert os.waitstatus_to_exitcode(status) == 7, status
    """)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_importing_the_package_touches_no_device_and_no_simulator() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import pamiq_storm, sys, torch; assert 'pamiq_storm._sim' not in sys.modules; "
            "assert torch.cuda.is_available() or torch.accelerator.current_accelerator() is None; "
            "assert not torch.cuda.is_initialized()",
        ],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
