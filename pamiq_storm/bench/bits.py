"""Equality of tensors as bits: NaN equals the same NaN, and 0.0 differs from -0.0."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.utils.deterministic
from torch import Tensor, nn


@contextmanager
def deterministic() -> Iterator[None]:
    """Some CUDA kernels add in any order: two runs would differ in the last bit with no offloading at all."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fills = torch.utils.deterministic.fill_uninitialized_memory  # pyright: ignore[reportAttributeAccessIssue]
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = fills  # pyright: ignore[reportAttributeAccessIssue]


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors have the same dtype, shape and bytes."""
    if first.dtype != second.dtype or first.shape != second.shape:
        return False
    left, right = (t.detach().cpu().contiguous().flatten().view(torch.uint8) for t in (first, second))
    return bool(torch.equal(left, right))


def gradients(model: nn.Module) -> dict[str, Tensor | None]:
    """Copies of all gradients on the CPU, by parameter name; None where there is none."""
    return {
        name: None if parameter.grad is None else parameter.grad.detach().cpu().clone()
        for name, parameter in model.named_parameters()
    }


def differing(first: Mapping[str, Tensor | None], second: Mapping[str, Tensor | None]) -> list[str]:
    """Names whose tensors differ in any bit, or that only one side has."""
    return sorted(name for name in first.keys() | second.keys() if not _same(first.get(name), second.get(name)))


def _same(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    return same_bits(first, second)
