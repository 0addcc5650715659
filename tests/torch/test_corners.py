"""Live models in the corners: flags, hooks, ties, odd tensors, and memory that somebody looked at or kept."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pamiq_storm.torch import PublishMode, TorchTrainingModel, serve_hook

from .live_models import Net, X, assert_serves, step, storage_bytes


def test_requires_grad_follows_training_whatever_a_reader_does(publish: PublishMode) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    for frozen in (True, False, True):
        model.model.head.requires_grad_(not frozen)
        with model.inference_model.unwrap() as served:
            served.requires_grad_(False)
        for _ in range(4):
            model.sync()
            with model.inference_model.unwrap() as served:
                assert [p.requires_grad for p in served.parameters()] == [
                    p.requires_grad for p in model.model.parameters()
                ]


def test_served_hooks_may_come_and_go(publish: PublishMode) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    _ = model.inference_model
    calls: list[int] = []
    observer = model.model.register_forward_hook(lambda *_: calls.append(1))
    handle = model.model.head.register_forward_hook(serve_hook(lambda module, args, output: output + 1))
    before = model.model.body.register_forward_pre_hook(serve_hook(lambda module, args: (args[0] * 2,)))
    for taken in (None, handle, before, observer):
        if taken is not None:
            taken.remove()
        for _ in range(4):
            model.sync()
            calls.clear()
            model.inference_model.infer(X)
            assert calls == []
            assert_serves(model)


def test_hooks_that_a_reader_leaves_do_not_survive_into_another_version(publish: PublishMode) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    with model.inference_model.unwrap() as served:
        served.register_forward_hook(lambda module, args, output: output + 1)
    for _ in range(6):
        model.sync()
        assert_serves(model)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sparse_and_nested_buffers_are_published(publish: PublishMode) -> None:
    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))
            self.register_buffer("sparse_coo", torch.eye(4).to_sparse())
            self.register_buffer("csr", torch.eye(4).to_sparse_csr())
            self.register_buffer("nested", torch.nested.nested_tensor([torch.ones(4), torch.ones(4)]))

        def forward(self, x: Tensor) -> Tensor:
            scaled = x * self.weight @ self.sparse_coo.to_dense() @ self.csr.to_dense()
            return scaled + self.nested.to_padded_tensor(0.0)[0]

    model = TorchTrainingModel(Sparse(), publish=publish)
    assert_serves(model)
    for value in range(2, 5):
        model.model.sparse_coo.mul_(value)
        model.model.csr.values().mul_(value)
        with torch.no_grad():
            model.model.weight.add_(1)
        model.sync()
        assert_serves(model)
    model.model.sparse_coo = torch.ones(4, 4).to_sparse()
    model.sync()
    assert_serves(model)
    model.model.sparse_coo.copy_(torch.eye(4).to_sparse())  # fewer items than before
    model.sync()
    assert_serves(model)
    assert model.publish_stats().snapshot_bytes > 0


def test_memory_that_a_kept_view_holds_is_counted_until_it_goes(publish: PublishMode) -> None:
    model = TorchTrainingModel(nn.Linear(64, 64, bias=False), publish=publish)
    one = storage_bytes(model.model)
    rest = None
    for _ in range(3):
        model.sync()
        rest = model.publish_stats().snapshot_bytes
    with model.inference_model.unwrap() as served:
        view = served.weight[0]
    del served
    for _ in range(3):
        model.sync()
        assert model.publish_stats().transient_bytes == one
    del view
    model.sync()
    stats = model.publish_stats()
    assert (stats.snapshot_bytes, stats.transient_bytes) == (rest, 0)


def test_parameters_tied_by_their_data_are_tied_in_the_next_version(publish: PublishMode) -> None:
    model = TorchTrainingModel(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), publish=publish)
    model.sync()
    model.model[1].weight.data = model.model[0].weight.data
    for _ in range(3):
        model.sync()
        assert_serves(model)
        with model.inference_model.unwrap() as served:
            assert served[0].weight.data_ptr() == served[1].weight.data_ptr()
        assert model.model[0].weight.data_ptr() == model.model[1].weight.data_ptr()
        step(model)


def test_at_rest_two_copies_exist_or_three_and_transients_are_counted_and_returned(publish: PublishMode) -> None:
    module = nn.Sequential(*[nn.Linear(64, 64) for _ in range(4)])
    model = TorchTrainingModel(module, publish=publish)
    inference = model.inference_model
    one, x = storage_bytes(module), torch.ones(3, 64)

    def bytes_there() -> int:
        shells = {id(shell): shell for shell in (*model._publication._known, *model._publication._shells.values())}
        pieces = {}
        for body in (module, *(shell.module for shell in shells.values() if shell.snapshot.bytes)):
            for tensor in body.parameters():
                pieces[tensor.data_ptr()] = tensor.nbytes
        return sum(pieces.values())

    copies = {"swap": 2, "copy": 3}[publish]
    assert bytes_there() == 2 * one
    for _ in range(3):
        step(model, x)
        model.sync()
    assert bytes_there() == copies * one
    stats = model.publish_stats()
    assert (stats.snapshot_bytes, stats.transient_bytes) == ((copies - 1) * one, 0)

    with inference.unwrap():
        for _ in range(5):  # of the versions in between nobody holds anything
            with torch.inference_mode(False):
                step(model, x)
            model.sync()
            stats = model.publish_stats()
            assert stats.transient_bytes == one
            assert bytes_there() == stats.snapshot_bytes + one <= 4 * one
        with inference.unwrap():
            model.sync()
            assert model.publish_stats().transient_bytes == 2 * one
    stats = model.publish_stats()
    assert (stats.snapshot_bytes, stats.transient_bytes) == ((copies - 1) * one, 0)
    assert bytes_there() == copies * one
    assert stats.peak_transient_bytes == 2 * one
    assert stats.version == stats.syncs == 9
    model.sync()
    assert bytes_there() == copies * one


LOOKS: dict[str, Callable[[nn.Module], Any]] = {
    "torch.save": lambda module: torch.save(module.state_dict(), io.BytesIO()),
    "deepcopy": copy.deepcopy,
    "storage": lambda module: [p.untyped_storage().nbytes() for p in module.parameters()],
    "is shared": lambda module: [p.is_shared() for p in module.parameters()],
}


@pytest.mark.parametrize("look", LOOKS)
def test_memory_still_moves_after_somebody_looked_at_the_storages(look: str) -> None:
    model = TorchTrainingModel(nn.Linear(64, 64), publish="swap")
    for _ in range(3):
        model.sync()
    LOOKS[look](model.model)
    for _ in range(3):
        before = model.model.weight.data_ptr()
        model.sync()
        assert model.model.weight.data_ptr() != before, "copied instead of moved"
    with model.inference_model.unwrap() as served:
        LOOKS[look](served)
    del served
    shells = {id(shell) for shell in model._publication._known}
    for _ in range(4):
        model.sync()
    assert {id(shell) for shell in model._publication._known} == shells, "a served body was made anew"
    assert_serves(model, torch.ones(1, 64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_of_a_parameter_class_of_ones_own_is_followed(publish: PublishMode, dtype: torch.dtype) -> None:
    class Own(nn.Parameter):
        pass

    layer = nn.Linear(4, 4, bias=False)
    layer.weight = Own(layer.weight.data)
    model = TorchTrainingModel(layer, publish=publish)
    model.sync()
    model.model.to(dtype)
    for _ in range(4):
        model.sync()
        assert_serves(model, X.to(dtype))
        with model.inference_model.unwrap() as served:
            assert type(served.weight) is Own


def test_a_module_kept_beyond_its_block_is_an_error_and_not_a_crash() -> None:
    model = TorchTrainingModel(nn.Linear(4, 4))
    with model.inference_model.unwrap() as kept:
        pass
    model.sync()
    with pytest.raises(RuntimeError, match="kept beyond the `with` block"):
        kept(torch.ones(1, 4))
    model.sync()
    assert_serves(model, torch.ones(1, 4))


def test_looking_for_races_adds_nothing_to_that_error(device: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The simulator's detector looks at every operation, those on the CPU included."""
    if device != "sim":
        pytest.skip("the simulator's detector")
    model = TorchTrainingModel(nn.Linear(4, 4))
    with model.inference_model.unwrap() as kept:
        pass
    model.sync()
    torch.ones(1, device=device).abs()
    with pytest.raises(RuntimeError, match="kept beyond the `with` block"):
        kept.weight.abs()
    assert capfd.readouterr().err == ""


def test_a_scripted_module_is_refused_by_name() -> None:
    model = TorchTrainingModel(torch.jit.script(nn.Linear(4, 4)))
    with pytest.raises(TypeError, match="scripted"):
        _ = model.inference_model
