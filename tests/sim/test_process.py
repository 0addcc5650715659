"""The simulator in the life of a process: loading, forking, ending. Each test has its own."""

import subprocess
import sys

import pytest


def run(code, **options):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, **options)
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


ENABLE = """
import torch, os, threading
from pamiq_storm import sim
sim.enable(memory="1GiB", d2h="5MB/s", h2d="5MB/s")
"""


def test_importing_the_package_does_not_load_the_simulator():
    out = run(
        "import sys, torch, pamiq_storm, pamiq_storm.sim\n"
        "print('pamiq_storm._sim' in sys.modules, pamiq_storm.sim.is_enabled(),"
        " torch.accelerator.current_accelerator())"
    )
    assert out.split() == ["False", "False", "None"]


def test_statistics_before_enable_say_what_to_do():
    out = run(
        "from pamiq_storm import sim\n"
        "for call in (sim.stats, sim.reset_stats, sim.configure):\n"
        "    try: call()\n"
        "    except RuntimeError as error: print(error)"
    )
    assert out.count("call pamiq_storm.sim.enable() first") == 3


@pytest.mark.parametrize("ending", ["pass", "raise SystemExit(0)", "import sys; sys.exit(0)"])
def test_a_process_ends_with_work_in_flight(ending):
    run(
        ENABLE
        + """
stream, waiter = torch.Stream(device="sim"), torch.Stream(device="sim")
x, host = torch.ones(10_000_000, device="sim"), torch.empty(10_000_000, pin_memory=True)
torch.accelerator.synchronize()
with stream:
    host.copy_(x, non_blocking=True)  # takes eight seconds
    event = stream.record_event()
waiter.wait_event(event)
with waiter:
    y = x + 1
a = torch.randn(500, 500, device="sim")
for _ in range(500):
    a = a @ a
"""
        + ending
    )


def test_a_process_ends_while_a_thread_waits_for_the_device():
    run(
        ENABLE
        + """
brake = sim.hold()
brake.__enter__()
threading.Thread(target=torch.accelerator.synchronize, daemon=True).start()
"""
    )


def test_a_forked_child_can_compute_and_end_but_not_use_the_device():
    out = run(
        ENABLE
        + """
x = torch.ones(1000, device="sim")
layer = torch.nn.Linear(4, 4).to("sim")
layer(torch.ones(2, 4, device="sim")).sum().backward()
brake = sim.hold(); brake.__enter__(); y = x + 1
pid = os.fork()
if pid == 0:
    assert (torch.ones(3) + 1).sum() == 6
    torch.manual_seed(3)
    del y
    try:
        x + 1
    except RuntimeError as error:
        print("spawn" in str(error), flush=True)
    raise SystemExit(0)
_, status = os.waitpid(pid, 0)
brake.__exit__(None, None, None)
print(os.waitstatus_to_exitcode(status), (x + 1).sum().item())
"""
    )
    assert out.split() == ["True", "0", "2000.0"]


def test_enabling_after_a_backward_pass_works():
    out = run(
        """
import torch
torch.ones(2, requires_grad=True).sum().backward()
from pamiq_storm import sim
sim.enable()
x = torch.ones(2, device="sim", requires_grad=True)
x.sum().backward()
print(x.grad.sum().item())
"""
    )
    assert out.split() == ["2.0"]


def test_two_devices_copy_to_each_other_and_have_their_own_memory():
    out = run(
        """
import torch
from pamiq_storm import sim
sim.enable(devices=2, memory="64MiB")
x = torch.arange(1000, device="sim:0").float()
y = x.to("sim:1") * 2
z = y.to("sim:0") + x
print(torch.equal(z.cpu(), torch.arange(1000).float() * 3))
print(torch.accelerator.memory_allocated(0) > 0, torch.accelerator.memory_allocated(1) > 0)
with torch.sim.device(1):
    print(torch.empty(1, device="sim").device)
w = torch.ones(3, device="sim:1", requires_grad=True)
(w.to("sim:0") * 3).sum().backward()
print(w.grad.device, w.grad.sum().item())
try: x + y
except RuntimeError as error: print("device" in str(error))
"""
    )
    assert out.split() == ["True", "True", "True", "sim:1", "sim:1", "9.0", "True"]


def test_torchs_thread_setting_does_not_reach_the_streams():
    out = run(
        ENABLE
        + """
torch.set_num_threads(2)
x = torch.randn(400, 400, device="sim")
first = (x @ x).cpu()
torch.set_num_threads(1)
print(torch.equal((x @ x).cpu(), first), torch.get_num_threads())
"""
    )
    assert out.split() == ["True", "1"]
