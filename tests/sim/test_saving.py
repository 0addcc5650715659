"""Tensors and states of the device are saved and loaded, onto it and off it."""

import io

import pytest
import torch
from torch import nn


def saved(thing):
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return file


@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize(("source", "target"), [("sim", "cpu"), ("cpu", "sim"), ("sim", "sim"), ("sim", None)])
def test_tensors_are_loaded_where_they_are_wanted(source, target, weights_only):
    for dtype in (torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn):
        host = torch.arange(6).to(dtype).reshape(2, 3)
        loaded = torch.load(saved(host.to(source)), map_location=target, weights_only=weights_only)
        assert loaded.device.type == (target or source)
        assert torch.equal(loaded.cpu().view(torch.uint8), host.view(torch.uint8))


def test_a_function_may_choose_the_place():
    loaded = torch.load(saved(torch.ones(3, device="sim")), map_location=lambda storage, where: storage)
    assert loaded.device.type == "cpu"


def test_views_of_one_storage_stay_views():
    base = torch.arange(10.0, device="sim")
    first, second = torch.load(saved([base[:4], base[2:]]), weights_only=True)
    assert first.untyped_storage().data_ptr() == second.untyped_storage().data_ptr()
    first[2] = 99
    assert second[0].item() == 99


def test_a_model_saved_from_the_device_runs_on_the_cpu_and_back():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).to("sim")
    model(torch.randn(8, 4, device="sim"))
    state = torch.load(saved(model.state_dict()), map_location="cpu", weights_only=True)
    host = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    host.load_state_dict(state)
    x = torch.randn(8, 4)
    assert torch.allclose(model.eval()(x.to("sim")).cpu(), host.eval()(x), atol=1e-6)
    again = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).to("sim")
    again.load_state_dict(torch.load(saved(host.state_dict()), map_location="sim", weights_only=True))
    assert torch.equal(again.eval()(x.to("sim")), model(x.to("sim")))


def test_saving_waits_for_what_is_still_being_computed(sim):
    sim.configure(h2d="200MB/s")
    device = torch.zeros(1_000_000, device="sim")
    host = torch.ones(1_000_000).pin_memory()
    device.copy_(host, non_blocking=True)
    assert torch.load(saved(device), map_location="cpu", weights_only=True).eq(1).all()
