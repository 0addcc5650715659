"""What the tests of device memory share: sizes, counts, and a cache that is empty when each begins."""

import gc

import pytest
import torch

MIB = 1 << 20


def allocate(bytes_, value=None):
    tensor = torch.empty(bytes_ // 4, device="sim")
    return tensor if value is None else tensor.fill_(value)


def allocated():
    return torch.accelerator.memory_allocated()


def reserved():
    return torch.accelerator.memory_reserved()


@pytest.fixture(autouse=True)
def _no_cached_segments():
    gc.collect()
    torch.accelerator.empty_cache()
