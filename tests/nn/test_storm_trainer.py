"""StormTrainer: the same training from Python and from C++."""

import pytest
import torch
from torch import nn

from pamiq_storm import _C
from pamiq_storm.nn import StormTrainer

SIZES = (6, 16, 3)


def batches(device: str, count: int = 10) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.randn(32, 6).to(device), torch.randn(32, 3).to(device)) for _ in range(count)]


def test_cxx_and_python_compute_alike_bit_for_bit(any_device: str) -> None:
    """From the same parameters; the two Adams of torch round differently, so each step starts from Python's."""
    python = StormTrainer(*SIZES, 0.01, device=any_device)
    cxx = _C.StormTrainer(*SIZES, 0.01, device=torch.device(any_device))
    for x, y in batches(any_device):
        cxx.model.load_state_dict(python.model.state_dict())
        assert torch.equal(cxx.train_step(x, y).cpu(), python.train_step(x, y).cpu())


def test_a_trainer_trains_as_plain_torch_does_bit_for_bit(any_device: str) -> None:
    trainer = StormTrainer(*SIZES, 0.01, device=any_device)
    plain = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).to(any_device)
    plain.load_state_dict(trainer.model.layers.state_dict())
    adam = torch.optim.Adam(plain.parameters(), lr=0.01)
    for x, y in batches(any_device):
        adam.zero_grad()
        loss = nn.functional.mse_loss(plain(x), y)
        loss.backward()
        adam.step()
        assert torch.equal(trainer.train_step(x, y).cpu(), loss.detach().cpu())


def test_cxx_and_python_models_start_alike() -> None:
    torch.manual_seed(3)
    python = StormTrainer(*SIZES, 0.01).model.state_dict()
    torch.manual_seed(3)
    cxx = _C.StormModel(*SIZES).state_dict()
    assert sorted(cxx) == sorted(python)
    assert all(torch.equal(cxx[key], python[key]) for key in cxx)


def test_the_loss_falls_and_has_no_history(any_device: str) -> None:
    trainer = StormTrainer(*SIZES, 0.01, device=any_device)
    ((x, y),) = batches(any_device, 1)
    losses = [trainer.train_step(x, y) for _ in range(30)]
    assert losses[-1].item() < losses[0].item()
    assert losses[0].shape == ()
    assert not losses[0].requires_grad


@pytest.mark.parametrize("make", [StormTrainer, _C.StormTrainer], ids=["python", "c++"])
def test_a_target_of_another_shape_is_refused_and_changes_nothing(make: type) -> None:
    trainer = make(*SIZES, 0.01)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    with pytest.raises(ValueError, match=r"target of the output's shape \[4, 3\], got \[4, 1\]"):
        trainer.train_step(torch.randn(4, 6), torch.randn(4, 1))
    with pytest.raises(RuntimeError, match="last dimension is not the weight's in_features"):
        trainer.train_step(torch.randn(4, 5), torch.randn(4, 3))
    assert all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())


@pytest.mark.parametrize("make", [StormTrainer, _C.StormTrainer], ids=["python", "c++"])
def test_a_target_on_another_device_is_refused(make: type, device: str) -> None:
    trainer = make(*SIZES, 0.01, device=torch.device(device))
    with pytest.raises(ValueError, match=f"target on {device}:0, where the model is, got one on cpu"):
        trainer.train_step(torch.randn(4, 6).to(device), torch.randn(4, 3))


def test_a_state_dict_that_does_not_fit_is_refused_whole() -> None:
    model = _C.StormModel(*SIZES)
    state = {key: torch.zeros_like(value) for key, value in model.state_dict().items()}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for wrong, sentence in (
        ({**state, "layers.4.bias": torch.zeros(9)}, r"layers.4.bias has shape \[9\], the model's \[3\]"),
        ({**state, "head": torch.zeros(2)}, r"the model has no head, of shape \[2\]"),
        ({k: v for k, v in state.items() if k != "layers.0.weight"}, "lacks layers.0.weight"),
    ):
        with pytest.raises(ValueError, match=sentence):
            model.load_state_dict(wrong)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
