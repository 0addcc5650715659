"""Optimizers step as on the CPU, in each of torch's implementations."""

import copy
import io

import pytest
import torch
from torch import nn

OPTIMIZERS = {
    "SGD": lambda p, **o: torch.optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01, **o),
    "Adam": lambda p, **o: torch.optim.Adam(p, 0.01, amsgrad=True, **o),
    "AdamW": lambda p, **o: torch.optim.AdamW(p, 0.01, **o),
}
KINDS = {"for-loop": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}


def network():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2))


def train(model, optimizer, device, steps=6, start=0):
    for step in range(start, start + steps):
        torch.manual_seed(100 + step)
        x = torch.randn(10, 8).to(device)
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    return [p.detach().cpu() for p in model.parameters()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_equal_the_cpus(name, kind):
    results = []
    for device in ("cpu", "sim"):
        model = network().to(device)
        results.append(train(model, OPTIMIZERS[name](model.parameters(), **KINDS[kind]), device))
    for ours, expected in zip(results[1], results[0], strict=True):
        assert torch.allclose(ours, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_resumes_bit_for_bit_from_a_saved_state(name, kind):
    model = network().to("sim")
    optimizer = OPTIMIZERS[name](model.parameters(), **KINDS[kind])
    train(model, optimizer, "sim")
    saved = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, saved)
    expected = train(model, optimizer, "sim", start=6)
    saved.seek(0)
    state = torch.load(saved, map_location="sim", weights_only=True)
    other = network().to("sim")
    resumed = OPTIMIZERS[name](other.parameters(), **KINDS[kind])
    other.load_state_dict(state["model"])
    resumed.load_state_dict(state["optimizer"])
    assert all(map(torch.equal, train(other, resumed, "sim", start=6), expected))


def gradients(device):
    model = network().to(device)
    model(torch.linspace(-3, 3, 80).reshape(10, 8).to(device)).square().sum().backward()
    return list(model.parameters())


@pytest.mark.parametrize("foreach", [True, False, None])
@pytest.mark.parametrize("kind", [1.0, 2.0, float("inf")])
def test_clipping_by_norm_equals_the_cpus(foreach, kind):
    ours, expected = gradients("sim"), gradients("cpu")
    total = nn.utils.clip_grad_norm_(ours, 0.5, norm_type=kind, foreach=foreach)
    assert torch.allclose(total.cpu(), nn.utils.clip_grad_norm_(expected, 0.5, norm_type=kind), rtol=1e-5)
    for a, b in zip(ours, expected, strict=True):
        assert torch.allclose(a.grad.cpu(), b.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("foreach", [True, False])
def test_clipping_by_value_equals_the_cpus(foreach):
    ours, expected = gradients("sim"), gradients("cpu")
    for parameters in (ours, expected):
        nn.utils.clip_grad_value_(parameters, 0.1, foreach=foreach)
    for a, b in zip(ours, expected, strict=True):
        assert torch.allclose(a.grad.cpu(), b.grad, rtol=1e-5, atol=1e-7)
        assert a.grad.abs().max().item() <= 0.1 + 1e-6


def test_clipping_issues_its_kernels_without_waiting(sim):
    parameters = gradients("sim")
    nn.utils.clip_grad_norm_(copy.deepcopy(parameters), 0.5, foreach=True)
    with sim.hold():
        nn.utils.clip_grad_norm_(parameters, 0.5, foreach=True)
        assert not torch.accelerator.current_stream().query()
