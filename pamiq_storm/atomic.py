"""Files that are replaced in one step: a kill at any byte leaves the old one or the new one."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["replacing", "sync_folder", "sync_tree", "write_atomically"]


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write (and to read back); at the end of the block it takes the place of `path`, durably.

    On any failure the old file stays and nothing else is left. A kill leaves at most a hidden `.NAME.*.tmp` beside it,
    which nothing loads.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces `path` in one step; on any failure the old file stays and nothing else is left."""
    with replacing(path) as file:
        file.write(content)


def sync_folder(folder: Path) -> None:
    """Makes the names in `folder` durable, as far as its file system can."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that do not sync folders
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Makes every file and folder under `folder` durable, whoever wrote them."""
    for parent, _, names in os.walk(folder):
        for name in names:
            _sync_file(Path(parent, name))
        sync_folder(Path(parent))


def _sync_file(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
