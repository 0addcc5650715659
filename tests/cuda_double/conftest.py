"""These tests look at the double itself, from inside a process that runs under it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.cuda_double import control


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    if not control.is_active():
        pytest.skip("the CUDA runtime is not doubled here: python -m tests.cuda_double pytest tests/cuda_double")
    yield
    torch.cuda.synchronize()


@pytest.fixture
def side() -> torch.cuda.Stream:
    return torch.cuda.Stream()
