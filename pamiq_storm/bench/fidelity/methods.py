"""The methods of the published measurements, each a way to run the model's forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from pamiq_storm.bench.fidelity.model import Block, Transformer
from pamiq_storm.bench.fidelity.moves import Manner, Mover
from pamiq_storm.bench.offload import peers


class Method:
    """Torch as it is. Streams and buffers of the others last from step to step."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self.blocks: list[Block] = list(model.blocks)  # pyright: ignore[reportAttributeAccessIssue]
        self.device = next(model.parameters()).device

    def prepare(self) -> None:
        """Before a step, and not part of its time."""

    def around(self) -> AbstractContextManager[Any]:
        """Around forward and backward."""
        return nullcontext()

    def close(self) -> None:
        """Leaves the model as it was."""


class Checkpointed(Method):
    """Each block recomputed in backward, by torch's checkpointing without reentry."""

    @contextmanager
    def around(self) -> Iterator[None]:
        for block in self.blocks:
            setattr(block, "forward", partial(self.call, block.forward))  # noqa: B010  (a type checker sees a method)
        try:
            yield
        finally:
            for block in self.blocks:
                del block.forward

    def call(self, forward: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        """One block."""
        return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=False)  # pyright: ignore[reportReturnType]


class CheckpointSavedOnCpu(Checkpointed):
    """What `offload_wrapper(checkpoint_wrapper(block))` does: torch's blocking copies around each block's inputs."""

    def __init__(self, model: Transformer, first_step: bool) -> None:
        super().__init__(model)
        self._first_step = first_step

    def prepare(self) -> None:
        """In a first step host memory is page-locked anew; later torch's cache has it."""
        if self._first_step:
            torch.accelerator.empty_host_cache()

    def call(self, forward: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        with save_on_cpu(pin_memory=True, device_type=self.device.type):
            return super().call(forward, *inputs)


class CheckpointMoved(Checkpointed):
    """The inputs that checkpointing saves are moved beside compute."""

    def __init__(self, model: Transformer, manner: Manner, keep_last: int = 0) -> None:
        super().__init__(model)
        self._mover = Mover(manner, self.device)
        self._keep_from = len(self.blocks) - keep_last
        self._seen = 0

    def prepare(self) -> None:
        self._seen = 0
        self._mover.begin()

    def call(self, forward: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        index, self._seen = self._seen, self._seen + 1

        def pack(tensor: Tensor) -> Tensor | int:
            return self._mover.out(tensor) if tensor is inputs[0] and index < self._keep_from else tensor

        with saved_tensors_hooks(pack, self._unpack):
            return super().call(forward, *inputs)

    def _unpack(self, packed: Tensor | int) -> Tensor:
        return self._mover.back(packed) if isinstance(packed, int) else packed


class MarkedMoved(Method):
    """The tensors that blocks mark are moved, but for the last block's; the others stay, and nothing is recomputed."""

    def __init__(self, model: Transformer, pooled: bool) -> None:
        super().__init__(model)
        # By layers, as the graph pass counts: waits one layer late, fetches one layer early.
        self._mover = Mover(Manner(in_flight=Block.MARKS, ahead=Block.MARKS, after_compute=True), self.device, pooled)
        self._pooled = pooled
        self._marked = 0
        self._addresses: set[int] = set()
        self._keys: dict[int, int] = {}
        self._returned: dict[int, Tensor] = {}
        for block in self.blocks[:-1]:
            block.mark = self._mark

    def prepare(self) -> None:
        self._marked = 0
        self._returned.clear()
        self._mover.begin()
        if not self._pooled:
            torch.accelerator.empty_host_cache()

    def around(self) -> AbstractContextManager[Any]:
        return saved_tensors_hooks(self._pack, self._unpack)

    def close(self) -> None:
        for block in self.blocks[:-1]:
            del block.mark

    def _mark(self, tensor: Tensor) -> None:
        if self._marked % Block.MARKS == 0:  # another block: addresses of earlier ones may belong to others now
            self._addresses.clear()
            self._keys.clear()
        self._marked += 1
        self._addresses.add(tensor.untyped_storage().data_ptr())

    def _pack(self, tensor: Tensor) -> Tensor | tuple[int, torch.Size, tuple[int, ...]]:
        address = tensor.untyped_storage().data_ptr()
        if address not in self._addresses:
            return tensor
        if address not in self._keys:
            self._keys[address] = self._mover.out(tensor)
        return self._keys[address], tensor.size(), tensor.stride()

    def _unpack(self, packed: Tensor | tuple[int, torch.Size, tuple[int, ...]]) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        key, size, stride = packed
        if key not in self._returned:
            self._returned = {k: t for k, t in self._returned.items() if k < key + 2 * Block.MARKS}
            self._returned[key] = self._mover.back(key)
        return self._returned[key].as_strided(size, stride)


class _Forgetful(dict[int, Any]):
    def pop(self, _key: int, default: Any = None) -> Any:
        return default


def _trl_of_july_2026(device_type: str) -> Any:
    """TRL's released `OffloadActivations`, as releases up to 1.7 were in one respect.

    They knew every storage of a forward by its address until backward, and took a new tensor at an old address for the
    old one, which stays on the device. 1.8 lets go of an address when its copy is over. The rest is as installed.
    """
    released: Any = peers.load("trl", device_type).OffloadActivations

    class OffloadActivations(released):
        # What to let go of: nothing is ever found there.
        _storage_key_by_tensor_id = property(lambda _: _Forgetful(), lambda _self, _value: None)

    return OffloadActivations


class Trl(Method):
    """With or without checkpointing inside."""

    def __init__(self, model: Transformer, checkpointed: bool) -> None:
        super().__init__(model)
        self._manager = _trl_of_july_2026(self.device.type)(use_streams=True, min_offload_size=0)
        self._manager.update_model_params(model)
        self._inner = Checkpointed(model) if checkpointed else Method(model)

    @contextmanager
    def around(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(self._manager)
            stack.enter_context(self._inner.around())
            yield


METHODS: Mapping[str, Callable[[Transformer], Method]] = {
    "none": Method,
    "checkpoint": Checkpointed,
    # Two sources in flight, the compute stream waits; copies back are asked for when needed, by a host that runs ahead.
    "checkpoint, inputs moved": lambda model: CheckpointMoved(model, Manner(in_flight=2)),
    "checkpoint, inputs moved but the last": lambda model: CheckpointMoved(model, Manner(in_flight=2), keep_last=1),
    # The same, but the host waits, and the next is fetched with each.
    "checkpoint, inputs moved, host waits": lambda m: CheckpointMoved(m, Manner(2, host_waits=True, ahead=1)),
    "checkpoint, save_on_cpu": lambda model: CheckpointSavedOnCpu(model, first_step=False),
    "checkpoint, save_on_cpu, first step": lambda model: CheckpointSavedOnCpu(model, first_step=True),
    "TRL": lambda model: Trl(model, checkpointed=False),
    "TRL on checkpoint": lambda model: Trl(model, checkpointed=True),
    "five tensors a layer moved, pool": lambda model: MarkedMoved(model, pooled=True),
    "five tensors a layer moved, no pool": lambda model: MarkedMoved(model, pooled=False),
}
