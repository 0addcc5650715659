"""Checkpoints of a whole system: what has its final name is whole."""

from __future__ import annotations

import fcntl
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pamiq_storm.atomic import sync_folder, sync_tree

__all__ = ["CheckpointStore"]

_NAME = re.compile(r"(\d{8,})_.*\.state")  # the number orders them: clocks may be set back


class CheckpointStore:
    """A folder of checkpoints, oldest to newest.

    Each is written into a hidden folder, made durable and only then renamed; one to be dropped loses its name first.
    What a killed writer left is cleared away by the next one.

    Args:
        folder: Made when the first is written.
        max_keep: How many to keep; None keeps all.
    """

    def __init__(self, folder: Path, max_keep: int | None = None) -> None:
        self.folder = folder
        self._max_keep = max_keep

    def paths(self) -> list[Path]:
        """All whole checkpoints, newest last."""
        if not self.folder.is_dir():
            return []
        named = [(match, path) for path in self.folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        return [path for _, path in sorted((int(match[1]), path) for match, path in named)]

    def newest(self) -> Path | None:
        """The newest whole checkpoint, if there is any."""
        return next(reversed(self.paths()), None)

    def write(self, save: Callable[[Path], None]) -> Path:
        """Makes one more out of what `save` writes into the folder it is given; on a failure there is none more."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            made = Path(tempfile.mkdtemp(dir=self.folder, prefix=".", suffix=".tmp"))
            try:
                save(made)
                made.chmod(0o755)
                sync_tree(made)
                path = made.rename(self.folder / self._next_name())
            except BaseException:
                shutil.rmtree(made, ignore_errors=True)
                raise
            sync_folder(self.folder)
            self._drop_old()
        return path

    def _next_name(self) -> str:
        newest = self.newest()
        number = 1 if newest is None else int(newest.name.partition("_")[0]) + 1
        return f"{number:08d}_{time.strftime('%Y-%m-%d_%H-%M-%S')}.state"

    def _drop_old(self) -> None:
        if self._max_keep is None:
            return
        for path in self.paths()[: -self._max_keep]:
            shutil.rmtree(path.rename(path.with_name(f".{path.name}.tmp")))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One writer at a time, over all processes: so whatever is unfinished here was left by a dead one."""
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.folder.glob(".*.tmp"):
                shutil.rmtree(left, ignore_errors=True)
            yield
