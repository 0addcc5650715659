"""Tensors of every dtype, shape and layout come back as they were saved."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from ..engine.models import identical
from .conftest import Storms
from .training import STEPS, Context, to_host, train, unchanged


class Keep(torch.autograd.Function):
    """Saves what it is given, and shows in backward what came back."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, returned: list[Tensor], *tensors: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(*tensors)
        ctx.returned = returned  # type: ignore[attr-defined]
        return x.clone()

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        ctx.returned.extend(ctx.saved_tensors)  # type: ignore[attr-defined]
        return (grad, None, *([None] * len(ctx.saved_tensors)))  # type: ignore[attr-defined]


def through(storm: Context, device: str, make: Callable[[], list[Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
    """What was saved, and what backward saw after the original was gone and its memory reused."""
    tensors = make()
    geometry = [(t.dtype, t.shape, t.stride(), t.device, t.is_conj(), t.is_neg()) for t in tensors]
    saved = to_host(tensors)
    x = torch.randn(1).to(device).requires_grad_()
    returned: list[Tensor] = []
    with storm:
        y = Keep.apply(x, returned, *tensors)
    del tensors
    torch.full((1 << 16,), 7.0).to(device)
    y.backward()
    assert [(t.dtype, t.shape, t.stride(), t.device, t.is_conj(), t.is_neg()) for t in returned] == geometry
    return saved, to_host(returned)


DTYPES = [
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
    "float8_e4m3fn", "float8_e5m2", "complex64", "complex128",
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.semantics("dtypes", "{dtype}, saved and returned")
def test_any_dtype_comes_back(dtype: str, device: str, storm_of: Storms) -> None:
    def make() -> list[Tensor]:
        data = torch.randn(64, 64) * 50
        if dtype.startswith("complex"):
            data = torch.complex(data, torch.randn(64, 64))
        cast = (data > 0) if dtype == "bool" else data.to(getattr(torch, dtype))
        whole = cast.to(device)
        return [whole, whole.t(), whole[1:, 3:50:3]]

    saved, returned = through(storm_of(), device, make)
    assert identical(saved, returned)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16", "complex64", "complex128"])
@pytest.mark.semantics("dtypes", "a model of {dtype}, 50 steps")
def test_models_of_any_dtype_train_the_same(dtype: str, device: str, storm_of: Storms) -> None:
    kind = getattr(torch, dtype)

    def run(context: Context) -> list[Tensor]:
        layers = [nn.Linear(32, 32, dtype=kind), nn.Linear(32, 32, dtype=kind)]
        model = nn.Sequential(layers[0], nn.Tanh(), layers[1])
        return train(model.to(device), torch.randn(32, 32, dtype=kind).to(device), context, STEPS)

    unchanged(run, storm_of())


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "a slice": lambda x: x[3:40],
    "every other row": lambda x: x[::2],
    "a column block (storage offset, stride)": lambda x: x[:, 16:],
    "a transposed view": lambda x: x.t(),
    "a flipped permutation": lambda x: x.view(8, 8, 48).permute(2, 0, 1),
    "stride 0 (expand)": lambda x: x.unsqueeze(0).expand(5, 64, 48),
    "stride 0 inside": lambda x: x[:, :1].expand(64, 48),
    "overlapping windows (unfold)": lambda x: x.unfold(0, 8, 4),
    "as_strided that overlaps itself": lambda x: x.as_strided((40, 40), (20, 1), 7),
    "a diagonal": lambda x: torch.stack([x[:48]] * 8).diagonal(dim1=1, dim2=2),
    "one row (select)": lambda x: x.view(4, -1)[2],
    "a reshape": lambda x: x.reshape(-1, 32),
    "channels last": lambda x: x.view(1, 3, 32, 32).contiguous(memory_format=torch.channels_last),
    "the whole tensor": lambda x: x,
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.semantics("views", "{name}, saved and returned")
def test_any_layout_comes_back(name: str, device: str, storm_of: Storms) -> None:
    saved, returned = through(storm_of(), device, lambda: [LAYOUTS[name](torch.randn(64, 48).to(device))])
    assert identical(saved, returned)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.semantics("views", "{name}, differentiated")
def test_gradients_through_any_view(name: str, device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 48).to(device).requires_grad_()
        with context:
            base = x * 1.5
            view = LAYOUTS[name](base)
            loss = (view * view.exp()).sum() + (view * 2.0).sin().sum() + base.tanh().sum()
        return [loss, *torch.autograd.grad(loss, x)]

    unchanged(run, storm_of())


@pytest.mark.parametrize("name", ["conj", "neg", "real", "imag", "view_as_real", "conj of a slice", "conj of conj"])
@pytest.mark.semantics("views", "complex: {name}")
def test_conjugate_and_negative_views_come_back(name: str, device: str, storm_of: Storms) -> None:
    views: dict[str, Callable[[Tensor], Tensor]] = {
        "conj": torch.conj,
        "neg": lambda z: z.conj().imag,
        "real": torch.real,
        "imag": torch.imag,
        "view_as_real": torch.view_as_real,
        "conj of a slice": lambda z: z[:, 3:30].conj(),
        "conj of conj": lambda z: z.conj().t().conj(),
    }

    def run(context: Context) -> list[Tensor]:
        x = torch.randn(32, 32, dtype=torch.complex64).to(device).requires_grad_()
        with context:
            view = views[name](x * (0.5 + 2j))
            loss = (view * view).abs().sum() if view.is_complex() else (view * view.exp()).sum()
        return [loss, *torch.autograd.grad(loss, x)]

    def make() -> list[Tensor]:
        return [views[name](torch.randn(32, 32, dtype=torch.complex64).to(device))]

    storm = storm_of()
    unchanged(run, storm)
    saved, returned = through(storm, device, make)
    assert identical(saved, returned)


@pytest.mark.parametrize("shape", ["(0,)", "(0, 7)", "(4, 0, 3)", "()", "(1,)"])
@pytest.mark.semantics("shapes", "{shape}")
def test_empty_and_zero_dimensional_tensors_come_back(shape: str, device: str, storm_of: Storms) -> None:
    sizes = torch.Size(eval(shape))

    def make() -> list[Tensor]:
        return [torch.randn(sizes).to(device), torch.randn(64, 64).to(device)]

    saved, returned = through(storm_of(min_bytes=0), device, make)
    assert identical(saved, returned)


@pytest.mark.semantics("shapes", "empty batches among full ones, differentiated")
def test_an_empty_batch_trains_nothing_and_breaks_nothing(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model = nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 32)).to(device)
        batches = [torch.randn(0 if step % 3 == 1 else 32, 32).to(device) for step in range(9)]
        return train(model, lambda step: batches[step], context, len(batches), lambda y: (y**2).sum())

    unchanged(run, storm_of(min_bytes=0))


@pytest.mark.semantics("sharing", "a tensor saved by several operations moves once")
def test_a_tensor_saved_often_moves_once(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            y = x * 1.5
            loss = (y * y).sum() + y.sin().sum() + (y @ y).sum()
        return [loss, *torch.autograd.grad(loss, x)]

    storm = storm_of(keep_last_bytes=0)
    unchanged(run, storm)
    stats = storm.stats()
    assert (stats.offloaded_tensors, stats.offloaded_bytes) == (1, 64 * 64 * 4)
    assert stats.shared_tensors == 4


@pytest.mark.semantics("sharing", "a whole tensor, then views of it: one host copy")
def test_views_of_a_moved_tensor_share_its_copy(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            y = x * 1.5
            loss = y.sin().sum() + y.t()[3:50].cos().sum() + y[10:, 5:].sin().sum() + y.view(-1)[::3].sin().sum()
        return [loss, *torch.autograd.grad(loss, x)]

    storm = storm_of(keep_last_bytes=0)
    unchanged(run, storm)
    stats = storm.stats()
    assert (stats.offloaded_tensors, stats.offloaded_bytes) == (1, 64 * 64 * 4)
    assert stats.shared_tensors == 3


@pytest.mark.semantics("sharing", "slices of a big tensor, saved one by one: only their bytes move")
def test_slices_do_not_drag_the_whole_tensor_along(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(1024, 256).to(device).requires_grad_()
        with context:
            y = x * 1.5
            loss = y[:8].sin().sum() + y[500:516].cos().sum() + y[1020:].tanh().sum()
        return [loss, *torch.autograd.grad(loss, x)]

    storm = storm_of(keep_last_bytes=0)
    unchanged(run, storm)
    # tanh saves its own output of 4 rows
    assert storm.stats().offloaded_bytes == (8 + 16 + 4) * 256 * 4


@pytest.mark.semantics("sharing", "slices first, then the whole tensor")
def test_a_whole_tensor_after_its_slices_is_right(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            y = x * 1.5
            loss = y[:32].sin().sum() + y[16:48].cos().sum() + y.sin().sum() + y[40:].cos().sum()
        return [loss, *torch.autograd.grad(loss, x)]

    unchanged(run, storm_of(keep_last_bytes=0))


@pytest.mark.semantics("sharing", "a storage saved at two versions is two copies")
def test_two_versions_of_a_storage_are_two_copies(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()
        seen: list[Tensor] = []
        with context:
            buffer = torch.randn(64, 64).to(device)
            first = Keep.apply(x * 1.0, seen, buffer)
        first.sum().backward(retain_graph=True)
        with context:
            buffer.add_(1.0)
            second = Keep.apply(x * 1.0, seen, buffer)
        second.sum().backward()
        return seen

    storm = storm_of(keep_last_bytes=0)
    unchanged(run, storm)
    assert storm.stats().offloaded_bytes == 2 * 64 * 64 * 4


@pytest.mark.semantics("sharing", "one context entry, a storage changed in place between two saves")
def test_a_save_after_a_change_in_place_does_not_share_the_old_bytes(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()
        seen: list[Tensor] = []
        with context:
            buffer = torch.randn(64, 64).to(device)
            stale = Keep.apply(x * 1.0, [], buffer)
            buffer.mul_(2.0)
            fresh = Keep.apply(x * 1.0, seen, buffer)
        fresh.sum().backward()
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            stale.sum().backward()
        return seen

    storm = storm_of(keep_last_bytes=0)
    unchanged(run, storm)
    assert storm.stats().offloaded_tensors == 2


@pytest.mark.semantics("sharing", "memory of a dropped tensor, reused by another one of the same address")
def test_a_reused_address_is_another_tensor(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()
        with context:
            total = x.sum()
            for factor in range(1, 20):
                total = total + (x * factor).sin().sum()  # each x * factor is freed before the next is made
        return [total, *torch.autograd.grad(total, x)]

    storm = storm_of(window_bytes=0, keep_last_bytes=0)
    unchanged(run, storm)
    assert storm.stats().shared_tensors == 0


@pytest.mark.semantics("sharing", "one tensor in two graphs")
def test_a_tensor_saved_in_two_graphs(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()
        seen: list[Tensor] = []
        with torch.no_grad():
            data = x * 3.0
        with context:
            first = (data * (x * 1.0)).sin().sum()
            second = (data * (x * 2.0)).cos().sum()
        del data
        for loss in (second, first):
            seen += torch.autograd.grad(loss, x)
        return seen

    storm = storm_of()
    unchanged(run, storm)
