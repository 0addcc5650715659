"""Masks that travel as bits: the same gradients bit for bit, or one clear error."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pamiq_storm import (
    _C,
    OffloadConfig,
    StormSystem,
    fetch_activation_from_cpu,
    offload,
    offload_activation_to_cpu,
    sim,
)
from tests.machine import DEVICE, needs_control
from tests.virtual.child import Child

SHAPE = (96, 1000)
BYTES = 96 * 1000
View = Callable[[Tensor], Tensor]


def bounds(**others: Any) -> OffloadConfig:
    """Everything leaves at once and comes back when it is asked for."""
    nothing: dict[str, Any] = {"window_bytes": 0, "prefetch_bytes": 0, "keep_last_bytes": 0, "pack_bool": True}
    return OffloadConfig(**(nothing | {"min_bytes": 1024, "slab_bytes": "1MiB"} | others))


class Saves(torch.autograd.Function):
    """Keeps what `view` makes of a mask for backward, and puts it into `seen` there."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, mask: Tensor, views: list[Callable[[Tensor], Tensor]], seen: list[Tensor]
    ) -> Tensor:
        ctx.save_for_backward(*(view(mask) for view in views))
        ctx.seen = seen
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        ctx.seen += ctx.saved_tensors
        return *grads, None, None, None


def there(value: Tensor, device: str) -> Tensor:
    """On the device, nothing under way."""
    moved = value.to(device)
    torch.accelerator.synchronize()
    return moved


def random_mask(*shape: int) -> Tensor:
    torch.manual_seed(3)
    return torch.rand(shape) > 0.5


def round_trip(
    mask: Tensor, device: str, *views: View, config: OffloadConfig | None = None
) -> tuple[list[Tensor], offload]:
    """What backward sees of the views of a mask whose original is gone."""
    storm = offload(None, config or bounds(), device=device)
    seen: list[Tensor] = []
    x = torch.zeros(1, device=device, requires_grad=True)
    original = there(mask, device)
    with storm:
        loss = Saves.apply(x, original, list(views), seen)
    del original
    gc.collect()
    torch.accelerator.synchronize()
    loss.backward()
    return seen, storm


class Masked(nn.Module):
    """Saves masks of every origin: dropout's, where's, masked_fill's, a comparison's, an expanded one."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(4))
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        causal = torch.ones(64, 64, dtype=torch.bool, device=x.device).tril()
        for layer in self.layers:
            h = self.dropout(layer(x))
            h = h.masked_fill(~causal, -1.0)
            h = torch.where(h > 0, h, h * 0.5)
            x = x + h * (h > 0.1)
        return x


def train(device: str, config: OffloadConfig | None) -> tuple[list[Tensor], offload | None]:
    torch.manual_seed(0)
    model = Masked().to(device)
    x = torch.randn(8, 64, 64).to(device)
    storm = offload(model, config) if config else None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.manual_seed(1)
    gradients = []
    for _ in range(4):
        optimizer.zero_grad()
        with storm or torch.enable_grad():
            loss = model(x).square().mean()
        loss.backward()
        gradients += [p.grad.cpu() for p in model.parameters() if p.grad is not None]
        optimizer.step()
    return gradients, storm


@pytest.mark.parametrize("ahead", [0, "16KiB", "64MiB"])
def test_gradients_are_the_same_bit_for_bit(ahead: int | str, device: str) -> None:
    plain, _ = train(device, None)
    packed, storm = train(device, bounds(window_bytes=ahead, prefetch_bytes=ahead))
    assert all(torch.equal(a, b) for a, b in zip(plain, packed, strict=True))
    assert storm is not None
    assert storm.stats().packed_tensors > 0


def test_an_eighth_of_the_bytes_crosses_the_link(device: str) -> None:
    mask = random_mask(*SHAPE)
    seen, storm = round_trip(mask, device, lambda m: m)
    assert torch.equal(seen[0].cpu(), mask)
    stats = storm.stats()
    assert (stats.packed_tensors, stats.packed_bytes) == (1, BYTES)
    assert stats.offloaded_tensors == stats.fetched_tensors == 1
    assert stats.offloaded_bytes == stats.fetched_bytes == _C.bool_wire_bytes(BYTES) == BYTES // 8 + 8


def test_without_being_asked_nothing_is_packed(device: str) -> None:
    seen, storm = round_trip(random_mask(*SHAPE), device, lambda m: m, config=bounds(pack_bool=False))
    assert storm.stats().packed_tensors == 0
    assert storm.stats().offloaded_bytes == BYTES
    assert torch.equal(seen[0].cpu(), random_mask(*SHAPE))


@pytest.mark.parametrize(
    ("name", "view", "packs"),
    [
        ("transposed", lambda m: m.t(), True),
        ("expanded", lambda m: m.expand(3, *SHAPE), True),
        ("reshaped", lambda m: m.view(4, 24, 1, 1000), True),
        ("rows", lambda m: m[10:90], False),  # the others' bytes come along, and nobody says that they are bools
        ("columns", lambda m: m[:, ::2], False),
    ],
)
def test_views_come_back_as_they_were(name: str, view: View, packs: bool, device: str) -> None:
    mask = random_mask(*SHAPE)
    seen, storm = round_trip(mask, device, view)
    assert torch.equal(seen[0].cpu(), view(mask))
    assert seen[0].stride() == view(mask).stride()
    assert storm.stats().packed_tensors == int(packs)


@pytest.mark.parametrize("size", [0, 1, 7, 1001])
def test_small_and_odd_sizes(size: int, device: str) -> None:
    mask = torch.ones(size, dtype=torch.bool)
    seen, storm = round_trip(mask, device, lambda m: m, config=bounds(min_bytes=0))
    assert torch.equal(seen[0].cpu(), mask)
    assert storm.stats().packed_tensors == int(size > 0)


def test_two_views_of_one_mask_share_the_bits(device: str) -> None:
    mask = random_mask(*SHAPE)
    seen, storm = round_trip(mask, device, lambda m: m, lambda m: m.t(), lambda m: m[3:50])
    assert [torch.equal(s.cpu(), v) for s, v in zip(seen, [mask, mask.t(), mask[3:50]], strict=True)] == [True] * 3
    assert storm.stats().offloaded_tensors == 1
    assert storm.stats().shared_tensors == 2


def test_bytes_of_a_mask_that_are_saved_as_numbers_are_moved_as_numbers(device: str) -> None:
    numbers = torch.arange(BYTES, dtype=torch.int64).remainder(251).to(torch.uint8)
    seen, storm = round_trip(numbers, device, lambda n: n, lambda n: n.view(torch.bool))
    assert torch.equal(seen[0].cpu(), numbers)
    assert torch.equal(seen[1].view(torch.uint8).cpu(), numbers)
    assert storm.stats().packed_tensors == 0
    mask = random_mask(*SHAPE)
    seen, storm = round_trip(mask, device, lambda m: m, lambda m: m.view(torch.uint8))
    assert torch.equal(seen[0].cpu(), mask)
    assert torch.equal(seen[1].cpu(), mask.view(torch.uint8))
    assert (storm.stats().offloaded_tensors, storm.stats().packed_tensors) == (2, 1)


def test_a_mask_made_of_the_numbers_0_and_1_comes_back(device: str) -> None:
    numbers = random_mask(BYTES).view(torch.uint8)
    seen, storm = round_trip(numbers, device, lambda n: n.view(torch.bool))
    assert torch.equal(seen[0].view(torch.uint8).cpu(), numbers)
    assert storm.stats().packed_tensors == 1


def stray_mask() -> Tensor:
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask.view(torch.uint8)[5, 5] = 2
    return mask


@pytest.mark.parametrize("prefetch", [0, "1MiB"])
def test_bytes_that_are_no_bools_are_an_error_in_backward(prefetch: int | str, device: str) -> None:
    message = r"93\.75 KiB \(96000 bytes\) of torch\.bool on .*neither 0 nor 1.*pack_bool=False"
    for _ in range(2):  # and the engine goes on
        with pytest.raises(RuntimeError, match=message):
            round_trip(stray_mask(), device, lambda m: m, config=bounds(prefetch_bytes=prefetch))
        round_trip(random_mask(*SHAPE), device, lambda m: m, config=bounds(prefetch_bytes=prefetch))


def test_bytes_that_are_no_bools_are_lent_as_they_are_while_they_are_here(device: str) -> None:
    storm = offload(None, bounds(window_bytes="1MiB"), device=device)
    seen: list[Tensor] = []
    x = torch.zeros(1, device=device, requires_grad=True)
    mask = there(stray_mask(), device)
    with storm:
        loss = Saves.apply(x, mask, [lambda m: m], seen)
    loss.backward()
    assert seen[0].data_ptr() == mask.data_ptr()


def test_a_graph_that_is_kept_brings_the_bits_back_again(device: str) -> None:
    storm = offload(None, bounds(), device=device)
    x = torch.randn(SHAPE).to(device).requires_grad_()
    mask = there(random_mask(*SHAPE), device)
    with storm:
        y = x.masked_fill(mask, 0.0).sum()
    del mask
    gc.collect()
    first = torch.autograd.grad(y, x, retain_graph=True)[0].cpu()
    second = torch.autograd.grad(y, x)[0].cpu()
    assert torch.equal(first, second)
    assert torch.equal(first, (~random_mask(*SHAPE)).float())
    assert storm.stats().fetched_tensors == 2


def test_a_mask_moved_by_hand_is_packed(device: str) -> None:
    system = StormSystem(device, bounds())
    mask = random_mask(*SHAPE)
    handle = offload_activation_to_cpu(there(mask, device), 0, system)
    assert torch.equal(fetch_activation_from_cpu(handle).cpu(), mask)
    assert system.stats().packed_tensors == 1


def test_without_room_for_the_bits_the_bytes_are_moved(device: str) -> None:
    if device != "sim":
        pytest.skip("lets an allocation fail, which only the simulator can")
    system = StormSystem(device, bounds())
    mask = there(random_mask(*SHAPE), device)
    with sim.inject(allocation=1) as failed:
        handle = offload_activation_to_cpu(mask, 0, system)
    assert failed.allocation == 1
    assert system.stats().packed_tensors == 0
    del mask
    gc.collect()
    assert torch.equal(fetch_activation_from_cpu(handle).cpu(), random_mask(*SHAPE))


def test_a_fetch_waits_on_the_host_until_the_bits_are_known(device: str) -> None:
    needs_control("holds streams back")
    system = StormSystem(device, bounds())
    mask = there(random_mask(*SHAPE), device)
    fetched: list[Tensor] = []
    with sim.hold(system.streams[0]):
        handle = offload_activation_to_cpu(mask, 0, system)
        del mask
        gc.collect()
        taker = threading.Thread(target=lambda: fetched.append(fetch_activation_from_cpu(handle)))
        taker.start()
        taker.join(0.2)
        assert taker.is_alive()
    taker.join()
    assert torch.equal(fetched[0].cpu(), random_mask(*SHAPE))


def ghost_step() -> tuple[int, int]:
    x = torch.zeros(SHAPE, device="sim", requires_grad=True)
    storm = offload(None, bounds(), device="sim")
    with storm:
        y = x.masked_fill(torch.zeros(SHAPE, dtype=torch.bool, device="sim"), 0.0).sum()
    gc.collect()
    y.backward()
    return storm.stats().packed_tensors, storm.stats().fetched_bytes


def early_step() -> tuple[int, bool]:
    """Device bytes that are freed while the bits are still on their way to the host, over a slow link."""
    system = StormSystem("sim", bounds(window_bytes="64MiB"))
    mask, one = (there(random_mask(*SHAPE), "sim") for _ in range(2))
    handle = offload_activation_to_cpu(mask, 0, system)
    allocated = torch.accelerator.memory_allocated()
    del mask
    sim.advance(1e-3)
    offload_activation_to_cpu(one, 0, system)  # each save looks what is over
    freed = allocated - torch.accelerator.memory_allocated()
    arrived = bool(system.streams[0].query())
    assert torch.equal(fetch_activation_from_cpu(handle).cpu(), random_mask(*SHAPE))
    return freed, arrived


@pytest.mark.parametrize(
    ("settings", "step", "expected"),
    [
        ({"memory": "ghost"}, ghost_step, (1, _C.bool_wire_bytes(BYTES))),
        ({"d2h": "1MB/s"}, early_step, (96256, False)),  # the mask's block
    ],
    ids=["memory without contents has no strays", "the original is free behind the packing"],
)
def test_in_virtual_time(settings: dict[str, Any], step: Callable[[], object], expected: object) -> None:
    if DEVICE == "cuda":
        pytest.skip("virtual time: only the simulator has it")
    child = Child(clock="virtual", **settings)
    try:
        assert child.run(step) == expected
    finally:
        child.close()
