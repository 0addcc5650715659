"""What a command says to people: lines on one stream, a progress bar on a terminal, nothing of it in a log file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

Advance = Callable[[], None]


class Console:
    """Lines go to `out`; progress goes to `err`, and only if that is a terminal."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._err = err or sys.stderr

    def line(self, text: str = "") -> None:
        """Writes one line, at once."""
        self._out.write(text + "\n")
        self._out.flush()

    @contextmanager
    def progress(self, label: str, total: int) -> Generator[Advance]:
        """Gives a function to call after each of `total` pieces of work."""
        if not self._err.isatty():
            yield lambda: None
            return
        bar = _tqdm_bar(label, total, self._err) or _PlainBar(label, total, self._err)
        try:
            yield lambda: bar.update(1)
        finally:
            bar.close()


class _PlainBar:
    """A bar that needs nothing installed."""

    WIDTH = 30

    def __init__(self, label: str, total: int, stream: TextIO) -> None:
        self._label, self._total, self._stream, self._done = label, max(total, 1), stream, 0
        self.update(0)

    def update(self, count: int) -> None:
        self._done = min(self._done + count, self._total)
        filled = self.WIDTH * self._done // self._total
        bar = "#" * filled + "." * (self.WIDTH - filled)
        self._stream.write(f"\r{self._label} [{bar}] {self._done}/{self._total}")
        self._stream.flush()

    def close(self) -> None:
        self._stream.write("\r\033[K")
        self._stream.flush()


def _tqdm_bar(label: str, total: int, stream: TextIO) -> Any:
    try:
        from tqdm import tqdm
    except ImportError:
        return None
    # Its monitor is a thread that would outlive an interrupted run.
    tqdm.monitor_interval = 0
    return tqdm(total=total, desc=label, file=stream, leave=False)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligns columns: the first to the left, the others to the right."""
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    lines: list[str] = []
    for line in (header, *rows):
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
