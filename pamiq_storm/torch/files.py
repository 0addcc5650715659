"""Files of tensors: whole or not at all, and safe to load."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint

from pamiq_storm.atomic import replacing

__all__ = ["host_copy", "load", "save"]


def save(value: object, path: Path) -> None:
    """Writes what `torch.save` can write; a kill at any byte leaves the old file or the new one.

    Raises:
        TypeError: It holds objects that `load` would refuse. The old file stays.
    """
    with replacing(path) as file:
        torch.save(value, file)
        file.seek(0)
        if refused := get_unsafe_globals_in_checkpoint(file):
            raise TypeError(
                f"{path} was not written: it would hold {', '.join(sorted(refused))}, which weights_only loading "
                "refuses; keep tensors, numbers, text and plain containers in the state"
            )


def load(path: Path, map_location: torch.device | str | None = "cpu") -> Any:
    """Reads what `save` or `torch.save` wrote, with `weights_only=True`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no whole file of tensors, or holds objects that are not safe to load.
    """
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises what its archive reader or the unpickler does
        raise ValueError(f"{path} is no file of tensors that can be loaded: {error}") from error


def host_copy(value: Any) -> Any:
    """A copy in host memory that shares nothing with `value`: plain containers, tensors, and what deepcopy copies.

    Work on the device that writes to the tensors, on whichever stream, is waited for. A tensor that occurs twice is
    copied once.
    """
    return _Copier().copy(value)


class _Copier:
    def __init__(self) -> None:
        self._made: dict[int, torch.Tensor] = {}
        self._waited_for: set[torch.device] = set()

    def copy(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return self._tensor(value)
        kind = type(value)
        if kind in (list, tuple):
            return kind(self.copy(item) for item in value)
        if isinstance(value, dict):
            made = copy.copy(value)  # of the same type, with its default factory or the like
            for key, item in value.items():
                made[key] = self.copy(item)
            return made
        return copy.deepcopy(value)

    def _tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in self._made:
            if tensor.device.type != "cpu" and tensor.device not in self._waited_for:
                torch.accelerator.synchronize(tensor.device)
                self._waited_for.add(tensor.device)
            self._made[id(tensor)] = tensor.detach().to("cpu", copy=True)
        return self._made[id(tensor)]
