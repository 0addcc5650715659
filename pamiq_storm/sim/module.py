"""``torch.sim``: what torch and its users expect of a device's module."""

import contextlib
import types
from collections.abc import Iterator
from typing import Any

import torch

_DEVICE_TYPE = 20  # c10::DeviceType::PrivateUse1, which torch.Stream takes as a number


def _index(device: Any) -> int:
    if device is None:
        return torch.accelerator.current_device_index()
    if isinstance(device, int):
        return device
    index = torch.device(device).index
    return torch.accelerator.current_device_index() if index is None else index


class _Random:
    """The devices' default generators, whose state is a seed and an offset."""

    def __init__(self, native: Any) -> None:
        self._native = native

    def get_rng_state(self, device: Any = "sim") -> torch.Tensor:
        seed, offset = self._native.rng_state(_index(device))
        return torch.tensor([seed, offset], dtype=torch.uint64).view(torch.uint8)

    def set_rng_state(self, state: torch.Tensor, device: Any = "sim") -> None:
        if state.dtype != torch.uint8 or state.numel() != 16:
            raise ValueError("a generator state of the simulated device is a uint8 tensor of 16 bytes")
        seed, offset = state.cpu().clone().view(torch.uint64).tolist()
        self._native.set_rng_state(_index(device), seed, offset)

    def manual_seed(self, seed: int, device: Any = None) -> None:
        self._native.set_rng_state(_index(device), seed % 2**64, 0)

    def manual_seed_all(self, seed: int) -> None:
        for index in range(torch.accelerator.device_count()):
            self.manual_seed(seed, index)


@contextlib.contextmanager
def _device_scope(device: Any) -> Iterator[None]:
    previous = torch.accelerator.current_device_index()
    torch.accelerator.set_device_index(_index(device))
    try:
        yield
    finally:
        torch.accelerator.set_device_index(previous)


def device_module(native: Any) -> types.ModuleType:
    """Build ``torch.sim``, with the names that torch and its users expect of a device module."""
    module = types.ModuleType("torch.sim", "The simulated accelerator of pamiq_storm.")
    accelerator = torch.accelerator
    random = _Random(native)
    members = {
        "_initialized": True,
        "_is_in_bad_fork": lambda: native.forked(),
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: native.current_config().devices,
        "current_device": accelerator.current_device_index,
        "set_device": lambda device: accelerator.set_device_index(_index(device)),
        "device": _device_scope,
        "synchronize": accelerator.synchronize,
        "current_stream": accelerator.current_stream,
        "set_stream": accelerator.set_stream,
        "default_stream": lambda device=None: torch.Stream(
            stream_id=0, device_index=_index(device), device_type=_DEVICE_TYPE
        ),
        "stream": lambda stream: contextlib.nullcontext() if stream is None else stream,
        "Stream": lambda device="sim", priority=0: torch.Stream(device=device, priority=priority),
        "Event": lambda enable_timing=False, **_: torch.Event("sim", enable_timing=enable_timing),
        "manual_seed": random.manual_seed,
        "manual_seed_all": random.manual_seed_all,
        "get_rng_state": random.get_rng_state,
        "set_rng_state": random.set_rng_state,
        "get_amp_supported_dtype": lambda: [torch.bfloat16, torch.float16],
    }
    for name in (
        "empty_cache",
        "memory_allocated",
        "max_memory_allocated",
        "memory_reserved",
        "max_memory_reserved",
        "memory_stats",
        "reset_peak_memory_stats",
        "reset_accumulated_memory_stats",
    ):
        members[name] = getattr(accelerator, name)
    members["mem_get_info"] = accelerator.get_memory_info
    for name, member in members.items():
        setattr(module, name, member)
    return module
