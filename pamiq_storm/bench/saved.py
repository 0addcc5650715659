"""What a forward saves for backward, counted by storage."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pamiq_storm.bench.arms import Workload


@dataclass(frozen=True)
class SavedBytes:
    """Bytes autograd keeps for one backward."""

    packed: int
    """Sum over all saved tensors, parameters and repetitions included: what a hook without memory would move."""
    activations: int
    """Each storage once, parameters and buffers left out: what has to be somewhere."""


def count_saved(workload: Workload, inputs: Tensor, targets: Tensor) -> SavedBytes:
    """Runs one forward without offload and counts what it saves."""
    model = workload.model
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    saved: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.detach())
        return saved[-1]

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = workload.loss(model, inputs, targets)
    # All of them are alive here, so that an address stands for one storage.
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in saved}
    del loss
    return SavedBytes(
        packed=sum(t.nbytes for t in saved),
        activations=sum(size for address, size in storages.items() if address not in own),
    )
