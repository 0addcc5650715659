"""
The engine of pamiq_storm. Use the pamiq_storm package; names here may change.
"""
from __future__ import annotations
import collections.abc
import torch
import typing
import typing_extensions
__all__: list[str] = ['DefaultScope', 'OffloadConfig', 'OffloadContext', 'OffloadedActivation', 'SavedTensor', 'Sentinel', 'StormModel', 'StormSystem', 'StormTrainer', 'after_fork_in_child', 'default_system', 'ensure_hook_dispatch', 'exchange_label', 'fetch_activation_from_cpu', 'hook_pair', 'label_of', 'memory_pressure_callback', 'offload_activation_to_cpu', 'release_default_contexts', 'set_process_exiting', 'start_recording', 'stop_recording']
class OffloadConfig:
    measure_stalls: bool
    def __init__(self) -> None:
        ...
    @property
    def host_bytes(self) -> int:
        ...
    @host_bytes.setter
    def host_bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def keep_last_bytes(self) -> int:
        ...
    @keep_last_bytes.setter
    def keep_last_bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def min_bytes(self) -> int:
        ...
    @min_bytes.setter
    def min_bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def prefetch_bytes(self) -> int:
        ...
    @prefetch_bytes.setter
    def prefetch_bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def slab_bytes(self) -> int:
        ...
    @slab_bytes.setter
    def slab_bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def window_bytes(self) -> int:
        ...
    @window_bytes.setter
    def window_bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
class StormSystem:
    def __init__(self, device: torch.device, config: OffloadConfig) -> None:
        ...
    def check_invariants(self) -> None:
        ...
    def close(self) -> None:
        ...
    def reset_peaks(self) -> None:
        ...
    def stats(self) -> dict:
        ...
    def trim(self) -> None:
        ...
    @property
    def closed(self) -> bool:
        ...
    @property
    def d2h_stream(self) -> torch.Stream:
        ...
    @property
    def device(self) -> torch.device:
        ...
    @property
    def h2d_stream(self) -> torch.Stream:
        ...
class OffloadContext:
    def __init__(self, system: StormSystem, model: collections.abc.Sequence[torch.Tensor]) -> None:
        ...
class SavedTensor:
    def fetch(self) -> torch.Tensor:
        ...
    @property
    def offloaded(self) -> bool:
        ...
class OffloadedActivation:
    @property
    def layer_id(self) -> int:
        ...
class Sentinel:
    def __call__(self, *args, **kwargs):
        """
        Call self as a function.
        """
class StormModel:
    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        ...
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, hidden_size: typing.SupportsInt | typing.SupportsIndex, output_size: typing.SupportsInt | typing.SupportsIndex, *, device: torch.device | None = None) -> None:
        ...
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        ...
    def load_state_dict(self, state_dict: collections.abc.Mapping[str, torch.Tensor]) -> None:
        ...
    def parameters(self) -> list[torch.Tensor]:
        ...
    def state_dict(self) -> dict[str, torch.Tensor]:
        """
        Keys and values of the Python model's state dict; the values share memory with the parameters.
        """
class StormTrainer:
    def __init__(self, input_size: typing.SupportsInt | typing.SupportsIndex, hidden_size: typing.SupportsInt | typing.SupportsIndex, output_size: typing.SupportsInt | typing.SupportsIndex, learning_rate: typing.SupportsFloat | typing.SupportsIndex, *, device: torch.device | None = None) -> None:
        ...
    def train_step(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        ...
    @property
    def model(self) -> StormModel:
        ...
class DefaultScope:
    def __enter__(self) -> None:
        ...
    def __exit__(self, *args) -> None:
        ...
    def __init__(self, like: torch.Tensor) -> None:
        ...
def after_fork_in_child() -> None:
    ...
def default_system(device: torch.device) -> StormSystem:
    ...
def ensure_hook_dispatch() -> bool:
    """
    Answer saved-tensor hooks in C++ from now on. False where this torch does not allow it.
    """
def exchange_label(label: typing.SupportsInt | typing.SupportsIndex) -> int:
    """
    Sets what this thread computes, for traces; returns what it was.
    """
def fetch_activation_from_cpu(activation: OffloadedActivation) -> torch.Tensor:
    ...
def hook_pair(context: OffloadContext) -> tuple[typing.Any, typing.Any]:
    """
    The (pack, unpack) pair that stands for `context` on torch's saved-tensor hook stack.
    """
def label_of(name: str) -> int:
    ...
def memory_pressure_callback() -> typing_extensions.CapsuleType:
    """
    A `bool (*)(c10::Device) noexcept` for an allocator that runs dry: true when memory was freed.
    """
def offload_activation_to_cpu(activation: torch.Tensor, layer_id: typing.SupportsInt | typing.SupportsIndex, system: StormSystem) -> OffloadedActivation:
    ...
def release_default_contexts() -> None:
    ...
def set_process_exiting() -> None:
    ...
def start_recording() -> None:
    ...
def stop_recording() -> dict:
    """
    Ends the recording and returns it, once what it recorded is over.
    """
