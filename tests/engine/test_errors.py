"""Bad input gets one clear message: what, how many bytes, on which device, what to do."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor, nn

from pamiq_storm import OffloadConfig, StormSystem, offload, sim
from tests.machine import needs_control

from .models import build, loss_of


def test_a_model_on_the_cpu_is_refused_with_the_cure(device: str) -> None:
    with pytest.raises(ValueError, match=r"the device is cpu: move the model to an accelerator.*sim\.enable"):
        offload(nn.Linear(2, 2))


def test_something_that_is_no_model_is_refused(device: str) -> None:
    with pytest.raises(TypeError, match=r"takes an nn\.Module, got Tensor"):
        offload(torch.zeros(1))  # type: ignore[arg-type]


def test_a_model_on_several_devices_must_name_one(device: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2).to(device), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=rf"several devices \(cpu, {device}:0\).*device="):
        offload(model)
    offload(model, device=device)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_bytes": "many"}, r"min_bytes: .*'many'"),
        ({"window_bytes": -1}, r"window_bytes: .*-1"),
        ({"prefetch_bytes": 1.5}, r"prefetch_bytes: .*1\.5"),
        ({"measure_stalls": 1}, r"measure_stalls must be a bool"),
        ({"pack_bool": None}, r"pack_bool must be a bool"),
    ],
)
def test_a_size_that_is_none_is_named(settings: dict[str, object], message: str, device: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        OffloadConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"slab_bytes": 100_000}, r"slab_bytes must be a power of two of at least 4096, got 100000"),
        ({"host_bytes": "8KiB", "min_bytes": "64KiB"}, r"host_bytes = 8\.00 KiB.*cannot hold a single tensor"),
        ({"window_bytes": "400GiB"}, r"window_bytes \+ prefetch_bytes \+ keep_last_bytes = 1.17 TiB.*do not fit into"),
    ],
)
def test_a_budget_that_cannot_hold_is_refused_with_its_sizes(
    settings: dict[str, object], message: str, device: str
) -> None:
    with pytest.raises(ValueError, match=message):
        offload(None, OffloadConfig(**settings), device=device)  # type: ignore[arg-type]


def test_a_closed_context_says_so_and_loses_nothing(device: str, config: OffloadConfig) -> None:
    model, batch = build("mlp", device)
    expected = torch.autograd.grad(loss_of(model(batch)), list(model.parameters()))
    storm = offload(model, config)
    with storm:
        loss = loss_of(model(batch))
    storm.close()
    storm.close()
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(gradients, expected, strict=True))
    with pytest.raises(RuntimeError, match=r"is closed: create a new one with pamiq_storm\.offload"), storm:
        pass
    with offload(model, config):  # a new one works
        loss_of(model(batch)).backward()


def test_closing_inside_refuses_the_next_save(device: str, config: OffloadConfig) -> None:
    model, batch = build("mlp", device)
    storm = offload(model, config)
    with storm:
        storm.close()
        with pytest.raises(RuntimeError, match="is closed"):
            model(batch)


def test_a_system_of_the_cpu_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match="the device is cpu"):
        StormSystem("cpu")


def test_tensors_of_other_devices_stay_where_they_are(device: str, config: OffloadConfig) -> None:
    x = torch.randn(64, 64).requires_grad_()
    with offload(None, config, device=device) as storm:
        loss = (x * 1.0).sin().sum()
    loss.backward()
    assert storm.stats().offloaded_tensors == 0
    assert storm.stats().kept_foreign_tensors > 0
    assert torch.equal(x.grad, x.detach().cos())


class Hold(torch.autograd.Function):
    """Saves a tensor for one number of gradient."""

    @staticmethod
    def forward(ctx, x: Tensor, held: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(held)
        return x.clone()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (held,) = ctx.saved_tensors
        return grad * held[0, 0], None


def test_no_device_memory_for_prefetch_is_no_error(device: str) -> None:
    """Fetching ahead is a favour: without memory for it backward fetches when it must."""
    needs_control("needs a device whose memory can be limited")
    mib = 1 << 20
    x = torch.ones(1).to(device).requires_grad_()
    storm = offload(None, OffloadConfig(window_bytes=0, prefetch_bytes="64MiB", keep_last_bytes=0), device=device)
    with storm:
        y = x
        for i in range(8):
            y = Hold.apply(y, torch.full((1024, 256), i + 1.0).to(device))
    torch.accelerator.synchronize()
    # What earlier tests left in the allocator's cache is memory too: all of it is taken, then enough for three of the
    # eight tensors is given back.
    taken: list[Tensor] = []
    sim.configure(memory=torch.accelerator.memory_reserved())
    try:
        with contextlib.suppress(torch.OutOfMemoryError):
            while True:
                taken.append(torch.empty(mib, dtype=torch.uint8, device=device))
        del taken[-3:]
        y.backward()
    finally:
        sim.configure(memory="1GiB")
    assert storm.stats().prefetch_refusals > 0
    assert x.grad.item() == 1 * 2 * 3 * 4 * 5 * 6 * 7 * 8
