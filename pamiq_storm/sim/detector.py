"""The race detector's reports, and the names of modules in them."""

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from pamiq_storm.sim.native import enabled


@dataclass(frozen=True)
class RaceSide:
    """One of the two operations of a race; what is not known is empty."""

    operation: str
    """As in torch's schemas; ``copy_d2h``, ``copy_h2d``; ``allocation`` for a block that is used again."""
    actor: str
    """``stream 3 of sim:0``, ``host`` or ``pinned allocator``."""
    module: str
    """The module in whose forward it was issued, or whose backward it belongs to."""
    tensor: str
    """The argument with its type and shape."""

    def __str__(self) -> str:
        tensor = f" ({self.tensor})" if self.tensor else ""
        module = f", in {self.module}" if self.module else ""
        return f"{self.operation}{tensor} on {self.actor}{module}"


@dataclass(frozen=True)
class Race:
    """Two operations that touch the same memory, of which one writes, and that nothing orders."""

    kind: str
    """``read after write``, ``write after read``, ``write after write`` or ``reuse``."""
    first: RaceSide
    second: RaceSide
    missing: str
    """What would have ordered them."""
    bytes: int
    """That both touch; of those alike, the most."""
    count: int
    """How often it was seen."""

    def __str__(self) -> str:
        times = "once" if self.count == 1 else f"{self.count} times"
        return (
            f"{self.kind} of {self.bytes} bytes, {times}:\n"
            f"  first    {self.first}\n"
            f"  second   {self.second}\n"
            f"  missing  {self.missing}"
        )


def races() -> list[Race]:
    """Return the races found since `enable` or `clear_races`, those alike as one, the first found first.

    What is looked for needs no bad luck: an order that events, waits and synchronisation do not promise
    counts as none, however the run went. An operation is only compared with those before it, so each race is
    found when its second half is issued.

    Raises:
        RuntimeError: the simulator is not enabled.
    """
    return [
        Race(kind, RaceSide(*first), RaceSide(*second), missing, size, count)
        for kind, first, second, missing, size, count in enabled().races()
    ]


def clear_races() -> None:
    """Forget the races found so far.

    Raises:
        RuntimeError: the simulator is not enabled.
    """
    enabled().clear_races()


class _Watch:
    """Tells the simulator what only Python knows, while somebody looks for races.

    Which module's forward runs; and what `torch.Tensor.tolist` reads, which is no operation of torch's.
    """

    def __init__(self) -> None:
        self._numbers: weakref.WeakKeyDictionary[torch.nn.Module, int] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()  # guards the making of numbers
        self._undo: list[Callable[[], None]] = []

    def follow(self, native: Any, on: bool) -> None:
        if on == bool(self._undo):
            return
        if on:
            self._start(native)
            return
        for undo in self._undo:
            undo()
        self._undo.clear()

    def _start(self, native: Any) -> None:
        def enter(module: torch.nn.Module, *_: Any) -> None:
            if not torch.compiler.is_compiling():
                native.enter_module(self._number(native, module))

        def leave(*_: Any) -> None:
            if not torch.compiler.is_compiling():
                native.leave_module()

        self._undo += [
            register_module_forward_pre_hook(enter).remove,
            register_module_forward_hook(leave, always_call=True).remove,
            _replace_tolist(native),
        ]

    def _number(self, native: Any, module: torch.nn.Module) -> int:
        number = self._numbers.get(module)
        if number is not None:
            return number
        root = type(module).__name__
        with self._lock:
            for path, part in module.named_modules():
                if part not in self._numbers:
                    self._numbers[part] = native.name_module(f"{root}.{path}" if path else root)
            return self._numbers[module]


def _replace_tolist(native: Any) -> Callable[[], None]:
    original = torch.Tensor.tolist

    def tolist(self: torch.Tensor) -> Any:
        if self.device.type == "cpu" and self.layout is torch.strided and self.is_contiguous():
            native.host_lists(self.data_ptr(), self.nbytes)
        return original(self)

    def undo() -> None:
        del torch.Tensor.tolist  # that of the base class is seen again

    torch.Tensor.tolist = tolist  # pyright: ignore[reportAttributeAccessIssue]
    return undo


watch = _Watch()
