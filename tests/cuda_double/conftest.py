"""These tests look at the double itself, from inside a process that runs under it; elsewhere there are none:

python -m tests.cuda_double python -m pytest tests/cuda_double
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.cuda_double import control

collect_ignore_glob = [] if control.is_active() else ["test_*.py"]


@pytest.fixture(autouse=True)
def _settled() -> Iterator[None]:
    yield
    torch.cuda.synchronize()


@pytest.fixture
def side() -> torch.cuda.Stream:
    return torch.cuda.Stream()
