"""The operations that pack bools into bits and back, on the CPU and on the device."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pamiq_storm import _C

pack_bool = torch.ops.pamiq_storm.pack_bool
unpack_bool = torch.ops.pamiq_storm.unpack_bool


def wire_for(bools: Tensor) -> Tensor:
    return torch.full((_C.bool_wire_bytes(bools.numel()),), 0x5A, dtype=torch.uint8).to(bools.device)


def packed(bools: Tensor) -> Tensor:
    wire = wire_for(bools)
    pack_bool(bools, wire)
    return wire


def unpacked(wire: Tensor, like: Tensor) -> Tensor:
    back = torch.full(like.shape, 7, dtype=torch.uint8).to(like.device)
    unpack_bool(wire, back)
    return back


def formula(bools: Tensor) -> Tensor:
    """Bool i is bit i % 8 of byte i / 8, padded to 64 bools; then eight bytes that say if a byte was no bool."""
    values = bools.cpu().view(torch.uint8).flatten()
    padded = torch.zeros((values.numel() + 63) // 64 * 64, dtype=torch.uint8)
    padded[: values.numel()] = values & 1
    bits = (padded.view(-1, 8) << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)
    stray = torch.tensor([int((values > 1).any()), 0, 0, 0, 0, 0, 0, 0], dtype=torch.uint8)
    return torch.cat([bits, stray])


@pytest.fixture(params=["cpu", "device"])
def place(request: pytest.FixtureRequest, device: str) -> str:
    return "cpu" if request.param == "cpu" else device


@pytest.mark.parametrize("operation", [pack_bool, unpack_bool])
def test_torch_accepts_the_operation(operation: object) -> None:
    bools = torch.rand(3, 33) > 0.5
    arguments = (bools, wire_for(bools)) if operation is pack_bool else (packed(bools), bools)
    torch.library.opcheck(operation, arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, 1, 7, 8, 15, 16, 17, 63, 64, 65, 1000, 4096])
def test_bits_are_what_the_formula_says_and_come_back(count: int, place: str) -> None:
    torch.manual_seed(count)
    bools = (torch.rand(count) > 0.5).to(place)
    wire = packed(bools)
    assert torch.equal(wire.cpu(), formula(bools))
    assert torch.equal(unpacked(wire, bools).cpu(), bools.cpu().view(torch.uint8))


@pytest.mark.parametrize("value", range(0, 256, 5))
def test_any_byte_that_is_no_bool_is_told(value: int, place: str) -> None:
    numbers = torch.ones(100, dtype=torch.uint8)
    numbers[value % 100] = value
    assert torch.equal(packed(numbers.to(place)).cpu(), formula(numbers))


@pytest.mark.parametrize("offset", range(16))
def test_bools_may_begin_anywhere(offset: int, place: str) -> None:
    room = (torch.rand(200) > 0.5).to(place)
    wire = packed(room[offset : offset + 130])
    assert torch.equal(wire.cpu(), formula(room.cpu()[offset : offset + 130].clone()))
    back = torch.full((200,), 7, dtype=torch.uint8).to(place)
    unpack_bool(wire, back[offset : offset + 130])
    assert torch.equal(back[offset : offset + 130].cpu(), room[offset : offset + 130].cpu().view(torch.uint8))
    assert back[:offset].eq(7).all()
    assert back[offset + 130 :].eq(7).all()


@pytest.mark.parametrize(
    ("bools", "wire", "message"),
    [
        (torch.zeros(8), torch.zeros(16, dtype=torch.uint8), "contiguous memory of torch.bool or torch.uint8"),
        (torch.zeros(8, 8, dtype=torch.bool).t()[:4], torch.zeros(16, dtype=torch.uint8), "contiguous memory"),
        (torch.zeros(65, dtype=torch.bool), torch.zeros(16, dtype=torch.uint8), "for 65 bools the wire has 24 "),
        (torch.zeros(8, dtype=torch.bool), torch.zeros(17, dtype=torch.uint8)[1:], "at a multiple of 8"),
    ],
)
def test_what_cannot_be_packed_is_refused(bools: Tensor, wire: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pack_bool(bools, wire)
    with pytest.raises(ValueError, match=message):
        unpack_bool(wire, bools)


def test_the_bytes_a_kernel_moves_are_told() -> None:
    count = 1_000_000
    assert _C.bool_wire_bytes(count) == count // 8 + 8
    assert _C.pack_bool_bytes(count) == count + count // 8 + 8  # reads bools, writes bits and the word
    assert _C.unpack_bool_bytes(count) == count + count // 8  # the word is for the host
