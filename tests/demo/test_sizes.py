"""The demo's sizes keep its promise: out of memory without STORM, room to spare with it."""

from __future__ import annotations

import json

import pytest

from pamiq_storm.demo.sizes import CUDA, GIB, MIB, QUICK, QUICK_CUDA, QUICK_CUDA_NEEDS, SIMULATED, choose_sizes
from tests.machine import DEVICE
from tests.programs import run_program

CUBLAS = 4 * 32 * MIB
"""What it keeps on the largest devices: 32 MiB for each thread and stream that multiplies. The demo has the main
thread, autograd's, the training thread's and the inference thread's."""

PEAKS = """
import gc, json, sys
import torch
from pamiq_storm import offload, sim
sim.enable(clock="virtual", memory="ghost", profile="h100-pcie")
from pamiq_storm.demo import sizes
from pamiq_storm.demo.gpt import ByteGPT
from pamiq_storm.demo.stages import loss_of

def peak(sizes, batch, config):
    torch.accelerator.empty_cache()
    model = ByteGPT(sizes.model).to("sim")
    optimizer = torch.optim.AdamW(model.parameters())
    torch.accelerator.reset_peak_memory_stats()
    storm = offload(model, config) if config else torch.enable_grad()
    for _ in range(3):
        inputs = torch.zeros(batch, sizes.model.context, dtype=torch.long, device="sim")
        with storm:
            loss = loss_of(model, inputs, inputs)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    parameters = sum(p.nbytes for p in model.parameters())
    del model, optimizer, loss, storm
    gc.collect()
    return torch.accelerator.max_memory_reserved(), parameters

chosen = getattr(sizes, sys.argv[1])
without, parameters = peak(chosen, chosen.batch, None)
with_storm, _ = peak(chosen, chosen.batch, chosen.offload)
live_without, _ = peak(chosen, chosen.live.batch, None)
live, _ = peak(chosen, chosen.live.batch, chosen.live.offload)
print(json.dumps([without, with_storm, live_without, live, parameters]))
"""


@pytest.mark.parametrize(
    ("device_bytes", "quick", "chosen"),
    [
        (None, False, SIMULATED),
        (None, True, QUICK),
        (80 * GIB, False, CUDA),
        (QUICK_CUDA_NEEDS, True, QUICK_CUDA),
        (1 * GIB, True, QUICK),
    ],
)
def test_sizes_go_by_the_device(device_bytes: int | None, quick: bool, chosen: object) -> None:
    assert choose_sizes(device_bytes, quick) is chosen


@pytest.mark.parametrize("name", ["CUDA", "QUICK_CUDA"])
def test_on_a_gpu_too_memory_runs_out_without_storm_only(name: str) -> None:
    if DEVICE != "sim":
        pytest.skip("peaks in ghost memory, which only the simulator has")
    limit = {"CUDA": CUDA, "QUICK_CUDA": QUICK_CUDA}[name].memory_limit_bytes
    done = run_program(PEAKS, name, timeout=100)
    assert done.returncode == 0, done.stderr
    without, with_storm, live_without, live, parameters = json.loads(done.stdout)
    copies = 3 * parameters  # what inference holds
    assert without > limit
    assert live_without + copies > limit
    assert with_storm + CUBLAS < limit
    assert live + copies + CUBLAS < limit
