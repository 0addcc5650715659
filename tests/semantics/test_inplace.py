"""A change in place of what autograd saved is the error that torch raises without us, and no other change is one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from .conftest import Storms
from .training import Context, unchanged

CHANGES: dict[str, Callable[[Tensor], object]] = {
    "of itself": lambda y: y.add_(1.0),
    "through a view": lambda y: y[1:, 2:].mul_(2.0),
    "through a detached alias": lambda y: y.detach().add_(1.0),
    "by an out= call": lambda y: torch.mul(y, 2.0, out=y),
    "by indexing": lambda y: y.__setitem__(0, 5.0),
    "by copy_": lambda y: y.copy_(torch.zeros_like(y)),
    "by zero_": lambda y: y.zero_(),
}
SENTENCE = "one of the variables needed for gradient computation has been modified by an inplace operation"


def broken(context: Context, device: str, save: Callable[[Tensor], Tensor], change: Callable[[Tensor], object]) -> str:
    torch.manual_seed(0)
    x = torch.randn(64, 64).to(device).requires_grad_()
    with context:
        y = x * 1.5
        loss = save(y)
        with torch.no_grad():
            change(y)
    with pytest.raises(RuntimeError) as error:
        loss.backward()
    message = str(error.value)
    error.value.__traceback__ = None
    return message


def versions(message: str) -> str:
    return message[message.index("version") :].split(" instead")[0]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.semantics("in-place", "a saved, offloaded tensor changed {change}: torch's own error, same versions")
def test_a_change_of_an_offloaded_tensor(change: str, device: str, storm_of: Storms) -> None:
    def save(y: Tensor) -> Tensor:
        return y.sin().sum()

    plain = broken(torch.enable_grad(), device, save, CHANGES[change])
    ours = broken(storm_of(), device, save, CHANGES[change])
    assert SENTENCE in plain
    assert SENTENCE in ours
    assert versions(plain) == versions(ours)


SAVES: dict[str, tuple[Callable[[Tensor], Tensor], dict[str, int | str], bool]] = {
    "kept because it is small": (lambda y: y.sin().sum(), {"min_bytes": "1MiB"}, False),
    "kept because the host is full": (lambda y: y.sin().sum(), {"host_bytes": "8KiB", "slab_bytes": "8KiB"}, False),
    "saved twice": (lambda y: (y * y).sum(), {}, True),
    "saved as itself and as a view": (lambda y: y.t().cos().sum() + y.sin().sum(), {}, True),
    "saved as a view only": (lambda y: y[3:40, 5:].sin().sum(), {}, True),
    "saved as an expanded view": (lambda y: y.unsqueeze(0).expand(3, 64, 64).sin().sum(), {}, True),
}


@pytest.mark.parametrize("saved", [name for name in SAVES if SAVES[name][2]])
@pytest.mark.semantics("in-place", "a tensor {saved}, then changed: torch's own error")
def test_a_change_of_a_shared_tensor(saved: str, device: str, storm_of: Storms) -> None:
    save, bounds, _ = SAVES[saved]
    plain = broken(torch.enable_grad(), device, save, CHANGES["of itself"])
    ours = broken(storm_of(**bounds), device, save, CHANGES["of itself"])
    assert SENTENCE in plain
    assert SENTENCE in ours
    assert versions(plain) == versions(ours)


@pytest.mark.parametrize("saved", [name for name in SAVES if not SAVES[name][2]])
@pytest.mark.semantics("in-place", "a tensor {saved}, then changed: torch's own error", moves=False)
def test_a_change_of_a_kept_tensor(saved: str, device: str, storm_of: Storms) -> None:
    save, bounds, _ = SAVES[saved]
    plain = broken(torch.enable_grad(), device, save, CHANGES["of itself"])
    ours = broken(storm_of(**bounds), device, save, CHANGES["of itself"])
    assert SENTENCE in plain
    assert versions(plain) == versions(ours)


@pytest.mark.semantics("in-place", "an operation's own output changed: torch's own error")
def test_a_change_of_a_saved_output(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> str:
        x = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            y = (x * 1.0).exp()
            with torch.no_grad():
                y.add_(1.0)
        with pytest.raises(RuntimeError) as error:
            y.sum().backward()
        error.value.__traceback__ = None
        return str(error.value)

    plain, ours = run(torch.enable_grad()), run(storm_of())
    assert SENTENCE in plain
    assert SENTENCE in ours
    assert versions(plain) == versions(ours)


@pytest.mark.semantics("in-place", "a kept parameter changed before backward: torch's own error")
def test_a_change_of_a_kept_parameter(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> str:
        weight = torch.randn(64, 64).to(device).requires_grad_()
        x = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            loss = ((x * 2.0) @ weight).sum()
        with torch.no_grad():
            weight.add_(1.0)
        with pytest.raises(RuntimeError) as error:
            loss.backward()
        error.value.__traceback__ = None
        return str(error.value)

    plain, ours = run(torch.enable_grad()), run(storm_of())
    assert SENTENCE in plain
    assert versions(plain) == versions(ours)


@pytest.mark.semantics("in-place", "an optimizer step between forward and backward: torch's own error")
def test_a_step_between_forward_and_backward(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> str:
        torch.manual_seed(0)
        layers = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 64)).to(device)
        optimizer = torch.optim.SGD(layers.parameters(), lr=0.1)
        with context:
            first, second = (layers(torch.randn(32, 64).to(device)).square().sum() for _ in range(2))
        first.backward()
        optimizer.step()
        with pytest.raises(RuntimeError) as error:
            second.backward()
        error.value.__traceback__ = None
        return str(error.value)

    plain, ours = run(torch.enable_grad()), run(storm_of())
    assert SENTENCE in plain
    assert SENTENCE in ours


@pytest.mark.semantics("in-place", "a view of the same storage saved after the change is no error")
def test_what_is_saved_after_the_change_is_right(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            y = x * 1.5
            y.mul_(2.0)
            z = y.sin().sum() + y.t().cos().sum()
        return [z, *torch.autograd.grad(z, x)]

    unchanged(run, storm_of())


@pytest.mark.semantics("in-place", "other rows of the base changed in place after a slice was saved: torch's own error")
def test_a_change_beside_a_saved_slice_is_torchs_error(device: str, storm_of: Storms) -> None:
    def save(y: Tensor) -> Tensor:
        return y[:32].sin().sum()

    plain = broken(torch.enable_grad(), device, save, lambda y: y[32:].add_(1.0))
    ours = broken(storm_of(), device, save, lambda y: y[32:].add_(1.0))
    assert SENTENCE in plain
    assert versions(plain) == versions(ours)


@pytest.mark.semantics("in-place", "a change through .data, which torch does not see, raises nothing")
def test_a_change_through_data_raises_nothing(device: str, storm_of: Storms) -> None:
    """Without us such a change reaches backward unseen. The host's copy is of the moment of saving: both are silent."""
    x = torch.randn(64, 64).to(device).requires_grad_()

    def run(context: Context) -> Tensor:
        with context:
            y = x * 1.5
            loss = y.sin().sum()
        y.data.zero_()
        return torch.autograd.grad(loss, x)[0].cpu()

    after = run(torch.enable_grad())
    assert torch.equal(after, torch.full((64, 64), 1.5))  # cos(0) * 1.5
    ours = run(storm_of(window_bytes=0, keep_last_bytes=0))
    at_saving = run(torch.autograd.graph.save_on_cpu(device_type=device))
    assert torch.equal(ours, after) or torch.equal(ours, at_saving)


@pytest.mark.semantics("in-place", ".data assigned anew after saving: the saved values count, as with save_on_cpu")
def test_data_assigned_anew(device: str, storm_of: Storms) -> None:
    x = torch.randn(64, 64).to(device).requires_grad_()

    def run(context: Context) -> Tensor:
        with context:
            y = x * 1.5
            loss = y.sin().sum()
        y.data = torch.zeros(64, 64).to(device)
        return torch.autograd.grad(loss, x)[0].cpu()

    assert torch.equal(run(storm_of()), run(torch.autograd.graph.save_on_cpu(device_type=device)))


@pytest.mark.semantics("in-place", "the storage freed under a saved tensor (untyped_storage().resize_(0))")
def test_a_storage_freed_by_hand_still_has_its_host_copy(device: str, storm_of: Storms) -> None:
    x = torch.randn(64, 64).to(device).requires_grad_()
    expected = torch.autograd.grad((x * 1.5).sin().sum(), x)[0].cpu()
    storm = storm_of(window_bytes=0, keep_last_bytes=0, prefetch_bytes=0)
    with storm:
        y = x * 1.5
        loss = y.sin().sum()
    torch.accelerator.synchronize()
    kept = y.untyped_storage()
    del y
    kept.resize_(0)  # as FSDP does with gathered weights
    del kept
    assert torch.equal(torch.autograd.grad(loss, x)[0].cpu(), expected)
