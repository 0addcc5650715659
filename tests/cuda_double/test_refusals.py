"""What the double cannot do it says, by name; nothing is answered with garbage."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from pamiq_storm import sim
from tests.cuda_double import control


def test_a_kernel_nothing_stands_for_is_named() -> None:
    with pytest.raises(RuntimeError, match=r"runs no CUDA kernels, and nothing stands for .*sleep|spin"):
        torch.cuda._sleep(1000)
    assert torch.ones(2, device="cuda").sum().item() == 2  # and the next call works


def test_graphs_are_refused(side: torch.cuda.Stream) -> None:
    refused = pytest.raises(RuntimeError, match="the CUDA double has no cudaStreamBeginCapture")
    with torch.cuda.stream(side), refused:
        torch.cuda.CUDAGraph().capture_begin()


def test_every_call_of_torch_is_served_or_refused_here() -> None:
    """None falls through to the real runtime, which would find no driver."""
    served = _symbols(Path(control.folder()) / "libcuda_double.so", "--defined-only")
    library = Path(torch.__file__).parent / "lib"
    for name in ("torch_cuda", "c10_cuda", "torch_python", "torch_cpu", "caffe2_nvrtc"):
        asked = _symbols(library / f"lib{name}.so", "--undefined-only")
        assert not {s for s in asked if s.startswith(("cuda", "__cuda"))} - served, name


def _symbols(path: Path, which: str) -> set[str]:
    shown = subprocess.run(["nm", "-D", which, str(path)], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1].partition("@")[0] for line in shown.splitlines()}


def test_a_copy_outside_of_an_allocation() -> None:
    x = torch.empty(2 << 20, dtype=torch.uint8, device="cuda")
    with pytest.raises(RuntimeError, match="leaves the memory that cudaMalloc gave"):
        control.copy_to_host(0, x, torch.cuda.current_stream(), count=1 << 40)


def test_an_allocation_fails_on_demand() -> None:
    with sim.inject(allocation=2) as fired:
        torch.empty(10, device="cuda")
        with pytest.raises(torch.cuda.OutOfMemoryError, match="injected"):
            torch.empty(10, device="cuda")
        torch.empty(10, device="cuda")
    assert fired.allocation == 1


def test_pinning_fails_on_demand() -> None:
    with sim.inject(pinned=1), pytest.raises(RuntimeError, match="out of memory"):
        torch.empty(1000, pin_memory=True)
    assert torch.empty(1000, pin_memory=True).is_pinned()


def test_a_copy_fails_on_demand_and_its_target_is_poisoned() -> None:
    x, host = torch.ones(1000, device="cuda"), torch.zeros(1000, pin_memory=True)
    with sim.inject(copy=1):
        host.copy_(x, non_blocking=True)
        with pytest.raises(RuntimeError, match="copy_d2h failed: injected"):
            torch.cuda.synchronize()
    assert host.isnan().all()


def test_a_kernel_fails_on_demand() -> None:
    x = torch.ones(1000, device="cuda")
    with sim.inject(task=1):
        x.add_(1.0)
        with pytest.raises(RuntimeError, match=r"add.* failed: injected"):
            torch.cuda.synchronize()
    assert x.eq(1.0).all()


def test_a_lost_device_refuses_every_call_until_it_is_back() -> None:
    x = torch.ones(1000, device="cuda")
    torch.cuda.synchronize()
    with sim.inject(lose_device=1):
        x.add_(1.0)
        for call in (torch.cuda.synchronize, x.cpu, lambda: x.add_(1.0), torch.cuda.Event().record):
            with pytest.raises(RuntimeError, match="is lost"):
                call()
        with pytest.raises(RuntimeError, match="is lost"):
            torch.cuda.synchronize()  # it sticks
    torch.cuda.synchronize()
    assert torch.ones(2, device="cuda").sum().item() == 2
