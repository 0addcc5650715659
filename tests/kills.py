"""Kills a program at each step of what it does with files.

Programs of tests import it in a fresh process, since it forks.
"""

from __future__ import annotations

import io
import os
import signal
import struct
from collections.abc import Callable
from typing import Any

STEPS = ("open", "fsync", "rename", "replace", "mkdir", "unlink", "rmdir")


class _Steps:
    def __init__(self, kill_at: int) -> None:
        self.count = 0
        self.kill_at = kill_at

    def step(self, just_before: Callable[[], None] = lambda: None) -> None:
        self.count += 1
        if self.count == self.kill_at:
            just_before()
            os.kill(os.getpid(), signal.SIGKILL)


class _TornFile:
    """A file whose fatal write leaves half of its bytes."""

    def __init__(self, file: Any, steps: _Steps) -> None:
        self._file = file
        self._steps = steps

    def write(self, content: Any) -> int:
        def half() -> None:
            self._file.write(bytes(memoryview(content).cast("B")[: len(content) // 2]))
            self._file.flush()

        self._steps.step(half)
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _TornFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def killed(action: Callable[[], object], kill_at: int) -> int | None:
    """Runs `action` in a forked process that dies at that step; returns None, or the number of steps if it lived."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _run(action, _Steps(kill_at), writer)
    os.close(writer)
    with io.open(reader, "rb") as pipe:  # noqa: UP020 (os.open is about to be replaced)
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.WEXITSTATUS(status) == 0, "the program failed by itself"
    return struct.unpack("q", said)[0]


def _run(action: Callable[[], object], steps: _Steps, writer: int) -> None:
    status = 1
    try:
        for name in STEPS:
            setattr(os, name, _counting(getattr(os, name), steps))
        fdopen = os.fdopen
        os.fdopen = lambda *args, **kwds: _TornFile(fdopen(*args, **kwds), steps)  # type: ignore[assignment]
        action()
        os.write(writer, struct.pack("q", steps.count))
        status = 0
    finally:
        os._exit(status)


def _counting(original: Callable[..., Any], steps: _Steps) -> Callable[..., Any]:
    def counted(*args: Any, **kwds: Any) -> Any:
        steps.step()
        return original(*args, **kwds)

    return counted


def killed_everywhere(action: Callable[[int], object], check: Callable[[int], object], stride: int = 1) -> int:
    """Kills `action(step)` at every step, or every few, then calls `check(step)`; returns how many steps there were."""
    step = 1 - stride
    while True:
        step += stride
        steps = killed(lambda step=step: action(step), step)
        if steps is not None:
            assert steps < step
            return steps
        check(step)
