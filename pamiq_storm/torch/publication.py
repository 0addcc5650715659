"""Versions of a model: published by the training side, read by inference. The note is in csrc/publish/README.md."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

import torch
from torch import nn

from .. import _C
from .shell import Body, Shell

__all__ = ["PublishMode", "PublishStats"]

PublishMode = Literal["swap", "copy"]

_SPARE_SHELLS = 2
"""Beside the one served: one to fill next, one for the next while a reader holds an old version."""

T = TypeVar("T", bound=nn.Module)


@dataclass(frozen=True)
class PublishStats:
    """What publication did so far, and the bytes it holds now beside the training side's own parameters."""

    version: int
    """The one that is served; the first is 0."""
    syncs: int
    rebuilds: int
    """Syncs that found another structure than before."""
    copied_bytes: int
    snapshot_bytes: int
    """All copies that inference has or may get."""
    transient_bytes: int
    """What of it belongs to other versions than the one served: still read, or not yet there."""
    peak_transient_bytes: int


class Publication(Generic[T]):
    """The versions of one model.

    Args:
        root: The training side's module. Nothing in it is replaced, ever.
        mode: `"swap"` or `"copy"`.
        prepare: What to do with each module that will be served, once.
    """

    def __init__(self, root: T, mode: PublishMode, prepare: Callable[[nn.Module], None]) -> None:
        self._root = root
        self._mode = mode
        self._prepare = prepare
        self._publisher = _C.Publisher(_C.Publisher.Mode.__members__[mode])
        self._lock = threading.RLock()  # one publication at a time; readers never take it
        self._shells: dict[_C.Snapshot, Shell] = {}  # those that the publisher knows
        self._idle: deque[Shell] = deque()  # readers append, who publishes takes
        self._known: list[Shell] = []  # both, of the present structure
        self._syncs = self._rebuilds = 0
        with self._lock, _normal():
            self._start()

    @property
    def version(self) -> int:
        """The version that is served."""
        return self._publisher.version

    @property
    def module_class(self) -> type[nn.Module]:
        """The class of the served modules."""
        return type(self._known[0].module)

    @property
    def device(self) -> torch.device:
        """The accelerator that the model lies on, else the CPU."""
        return self._body.layout.device

    def pin(self) -> _C.Snapshot:
        """The newest version, which stays as it is until `unpin`. Waits for nobody."""
        return self._publisher.pin()

    def module_of(self, snapshot: _C.Snapshot) -> T:
        """The module that reads a pinned version."""
        return self._shells[snapshot].module  # pyright: ignore[reportReturnType]

    def restore_mode(self, snapshot: _C.Snapshot) -> None:
        """Other readers of a pinned version get it in eval mode, whatever one did."""
        self._shells[snapshot].restore_mode()

    def unpin(self, snapshot: _C.Snapshot) -> None:
        """Let go; whoever is the last to leave an old version frees it."""
        if self._publisher.unpin(snapshot):
            self._collect()

    def publish(self) -> None:
        """Serve what the training side holds now. Fails whole or not at all."""
        with self._lock, _normal():
            self._collect()
            if not self._publish_next():
                self._start()
                self._rebuilds += 1
            self._syncs += 1
            self._collect()

    def stats(self) -> PublishStats:
        """Figures so far. Does not synchronise."""
        self._collect()
        served = self._body.layout.bytes
        spare = sum(shell.snapshot.bytes for shell in tuple(self._idle))
        return PublishStats(
            version=self._publisher.version,
            syncs=self._syncs,
            rebuilds=self._rebuilds,
            copied_bytes=self._publisher.copied_bytes,
            snapshot_bytes=self._publisher.bytes + spare,
            transient_bytes=max(0, self._publisher.bytes - served),
            peak_transient_bytes=max(0, self._publisher.peak_bytes - served),
        )

    def check_invariants(self) -> None:
        """For tests: raises if the publisher contradicts itself."""
        self._publisher.check_invariants()

    def _start(self) -> None:
        """Serve a first version, or the first of another structure. Old shells leave with their last reader."""
        body = Body(self._root)
        shells = [self._new_shell(body) for _ in range(1 + _SPARE_SHELLS)]
        first = shells[0]
        with self._serving(first):
            self._publisher.start(first.snapshot)
        self._body = body
        self._known = shells
        self._idle = deque(shells[1:])

    def _publish_next(self) -> bool:
        """False if the structure or the tensors are no longer those of the body."""
        changed = self._body.changed()
        if changed is None:
            return False
        if changed:
            for shell in tuple(self._known):
                shell.stale |= changed
        shell = self._take_idle()
        with self._serving(shell):
            shell.update()
            return self._publisher.publish(shell.snapshot, self._if_free())

    @contextlib.contextmanager
    def _serving(self, shell: Shell) -> Iterator[None]:
        """Readers find a shell from the moment its snapshot is served. Whether it is, only the publisher knows: an
        interrupt may come after it is done.
        """
        before = shell.snapshot.version
        first = not self._shells
        self._shells[shell.snapshot] = shell
        try:
            yield
        finally:
            if shell.snapshot.version == before and not first:
                del self._shells[shell.snapshot]
                self._idle.append(shell)

    def _new_shell(self, body: Body) -> Shell:
        shell = Shell(body, self._prepare)
        shell.settle()
        return shell

    def _take_idle(self) -> Shell:
        for shell in tuple(self._idle):
            if shell.body is not self._body:  # its last reader left while the structure changed
                self._idle.remove(shell)
        ours = [shell for shell in tuple(self._idle) if shell.snapshot.unused()]
        if not ours:
            made = self._new_shell(self._body)
            self._known.append(made)
            return made
        chosen = max(ours, key=lambda shell: shell.snapshot.bytes)  # in copy mode one has memory
        self._idle.remove(chosen)
        return chosen

    def _if_free(self) -> tuple[_C.Snapshot, int] | None:
        """See `Publisher.publish`. Readers are counted before references, so that one in between is noticed."""
        free = self._publisher.if_free()
        shell = self._shells.get(free[0]) if free else None  # None: another took its place just now
        return free if shell is not None and shell.unreferenced() else None

    def _collect(self) -> None:
        """Free what nobody reads any more. Each snapshot is given to one caller only."""
        for snapshot in self._publisher.collect():
            shell = self._shells.pop(snapshot)
            if not shell.unreferenced():
                self._publisher.abandon(snapshot)
            elif shell.body is self._body:
                shell.renew()
                if self._mode == "swap" or any(other.snapshot.bytes for other in tuple(self._idle)):
                    snapshot.release()
                self._idle.append(shell)
                continue
            else:
                snapshot.release()
            if shell in self._known:
                self._known.remove(shell)


@contextlib.contextmanager
def _normal() -> Iterator[None]:
    """What is made here is used by everybody, whatever mode the caller is in."""
    with torch.inference_mode(False), torch.no_grad():
        yield
