"""Rates of the device itself: matrix products, convolution, attention, its memory, its shortest kernel.

On random numbers: with equal ones fewer bits change from operation to operation, and a device whose power is limited is
faster than it ever is in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F

from pamiq_storm.calibrate.meter import Meter, Operation, Sized

Numbers = dict[str, tuple[float, str]]
"""By the profile's name: the value, and how it was measured."""

HEADS, HEAD_SIZE, CHANNELS, IMAGE = 32, 128, 256, 32


def measure(meter: Meter) -> Numbers:
    """All numbers of the device's own work."""
    numbers: Numbers = {}
    kinds = (
        ("half_flops", torch.bfloat16, "highest"),
        ("tf32_flops", torch.float32, "high"),
        ("single_flops", torch.float32, "highest"),
        ("double_flops", torch.float64, "highest"),
    )
    for name, dtype, precision in kinds:
        with _matmul_precision(precision):
            flops = meter.rate(_matmul(meter.device, dtype), 256, 16384)
        numbers[name] = flops, f"square matrix product, {str(dtype).removeprefix('torch.')}, precision {precision!r}"
    half = numbers["half_flops"][0]
    numbers["matmul_efficiency"] = 1.0, "1 by definition: calibrate's rates are those reached"
    for name, sized, largest, what in (
        ("convolution_efficiency", _convolution(meter.device), 512, "3 x 3 convolution of 256 channels, bfloat16"),
        ("attention_efficiency", _attention(meter.device), 16384, "causal attention, bfloat16, 32 heads of 128"),
        (
            "attention_backward_efficiency",
            _attention_backward(meter.device),
            16384,
            "its backward, 2.5 times the FLOPs",
        ),
    ):
        smallest = 1 if largest == 512 else 256
        numbers[name] = meter.rate(sized, smallest, largest) / half, f"{what}, by half_flops"
    numbers["memory_bytes_per_s"] = meter.rate(_copy(meter.device), 1 << 20, 1 << 30), "copy within the device"
    numbers["memory_efficiency"] = 1.0, "1 by definition: calibrate's rates are those reached"
    one = torch.zeros(1, device=meter.device)
    numbers["kernel_floor_s"] = meter.queued_s(lambda: one.add_(1), 100), "addition to one number, queued"
    return numbers


@contextmanager
def _matmul_precision(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _matmul(device: torch.device, dtype: torch.dtype) -> Sized:
    def sized(n: int) -> tuple[Operation, float]:
        a = torch.randn(n, n, dtype=dtype, device=device)
        out = torch.empty_like(a)
        return lambda: torch.mm(a, a, out=out), 2.0 * n**3

    return sized


def _convolution(device: torch.device) -> Sized:
    def sized(batch: int) -> tuple[Operation, float]:
        image = torch.randn(batch, CHANNELS, IMAGE, IMAGE, dtype=torch.bfloat16, device=device)
        weight = torch.randn(CHANNELS, CHANNELS, 3, 3, dtype=torch.bfloat16, device=device)
        image = image.to(memory_format=torch.channels_last)
        weight = weight.to(memory_format=torch.channels_last)
        return lambda: F.conv2d(image, weight, padding=1), 2.0 * batch * IMAGE**2 * CHANNELS**2 * 9

    return sized


def _attention_flops(length: int) -> float:
    """Two products of half a square each: what is masked is not computed."""
    return 2.0 * HEADS * length**2 * HEAD_SIZE


def _heads(device: torch.device, length: int, grad: bool) -> list[torch.Tensor]:
    shape = (1, HEADS, length, HEAD_SIZE)
    return [torch.randn(shape, dtype=torch.bfloat16, device=device, requires_grad=grad) for _ in range(3)]


def _attention(device: torch.device) -> Sized:
    def sized(length: int) -> tuple[Operation, float]:
        q, k, v = _heads(device, length, grad=False)
        return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True), _attention_flops(length)

    return sized


def _attention_backward(device: torch.device) -> Sized:
    def sized(length: int) -> tuple[Operation, float]:
        q, k, v = heads = _heads(device, length, grad=True)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        grad = torch.randn_like(out)
        backward: Callable[[], object] = lambda: torch.autograd.grad(out, heads, grad, retain_graph=True)  # noqa: E731
        return backward, 2.5 * _attention_flops(length)

    return sized


def _copy(device: torch.device) -> Sized:
    def sized(size: int) -> tuple[Operation, float]:
        source = torch.zeros(size, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        return lambda: target.copy_(source), 2.0 * size

    return sized
