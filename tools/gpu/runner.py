"""Runs steps one at a time, each in a process group of its own, within its limit and within the time that is left.

What passed is remembered, so that a second call goes on where the first stopped. A step that fails stops only those
that need it. What there was no time for is said, and comes first the next time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tools.gpu.book import Book, Outcome, Status

GRACE_S = 5.0
"""From the request to end until a process group is killed."""

LAST_LINES = 15

Say = Callable[[str], None]


@dataclass(frozen=True)
class Step:
    """One command. It passes if it ends with 0 and has written what it should."""

    name: str
    command: tuple[str, ...]
    expected_s: float
    """What it takes on a fast machine: it is not begun with less time left."""
    limit_s: float
    """It is killed then, and has failed."""
    needs: tuple[str, ...] = ()
    """Steps that must have passed."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    writes: tuple[Path, ...] = ()
    missing: str = ""
    """What it lacks here and how to get it: it has failed then."""
    left_out: str = ""
    """Why it makes no sense here: that is no failure."""


class Interrupted(Exception):  # noqa: N818  (not an error: somebody wants an end)
    """The run is to end now; what was under way is killed."""


def run(steps: Sequence[Step], book: Book, folder: Path, budget_s: float, say: Say) -> None:
    """Runs what has not passed yet. Outcomes are in the book, each from the moment its step ends.

    Raises:
        Interrupted: somebody asked for an end.
    """
    deadline = time.monotonic() + budget_s
    for step in in_order(steps, book):
        outcome = _without_running(step, book, deadline - time.monotonic())
        if outcome is None:
            say(f"{step.name}: running, log in {log_of(step, folder)}")
            outcome = _execute(step, folder, deadline - time.monotonic())
        book.record(step.name, outcome)
        say(f"{step.name}: {outcome}")
        if outcome.status is Status.FAILED and not step.missing:
            for line in _last_lines(log_of(step, folder)):
                say(f"    {line}")


def in_order(steps: Sequence[Step], book: Book) -> list[Step]:
    """What is to be run: first what was not run yet or others wait for, then what has failed before."""
    waiting = [step for step in steps if book.status(step.name) is not Status.PASSED]
    needed = {name for step in waiting for name in step.needs}
    again = [s for s in waiting if book.status(s.name) is Status.FAILED and s.name not in needed]
    return [step for step in waiting if step not in again] + again


def log_of(step: Step, folder: Path) -> Path:
    """Where the step's output goes."""
    return folder / "logs" / f"{step.name.replace(' ', '-').replace(':', '-')}.log"


def _without_running(step: Step, book: Book, left_s: float) -> Outcome | None:
    """What is to be said of a step that cannot be begun; None if it can."""
    if step.left_out:
        return Outcome(Status.LEFT_OUT, step.left_out)
    if lacking := [name for name in step.needs if book.status(name) is not Status.PASSED]:
        return Outcome(Status.NOT_RUN, f"it needs {', '.join(lacking)}")
    if step.missing:
        return Outcome(Status.FAILED, step.missing)
    if left_s < step.expected_s:
        return Outcome(Status.OUT_OF_TIME, f"it takes {step.expected_s:.0f} s, and {max(left_s, 0):.0f} s were left")
    return None


def _execute(step: Step, folder: Path, left_s: float) -> Outcome:
    for path in step.writes:
        path.unlink(missing_ok=True)  # of an earlier run
    log = log_of(step, folder)
    log.parent.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with log.open("wb") as out:
        status = _process(step, out.fileno(), min(step.limit_s, left_s))
    seconds = time.monotonic() - begin
    if status is None and left_s < step.limit_s:
        return Outcome(Status.OUT_OF_TIME, f"ended after {seconds:.0f} s, when the whole run's time was over", seconds)
    if status is None:
        return Outcome(Status.FAILED, f"killed at its limit of {step.limit_s:.0f} s", seconds)
    if status != 0:
        return Outcome(Status.FAILED, _death(status), seconds)
    if absent := [path.name for path in step.writes if not path.exists()]:
        return Outcome(Status.FAILED, f"it did not write {', '.join(absent)}", seconds)
    return Outcome(Status.PASSED, "", seconds)


def _process(step: Step, out: int, limit_s: float) -> int | None:
    """The exit status, or None if it had to be killed. Nothing of its process group is left in either case."""
    process = subprocess.Popen(
        step.command,
        env={**os.environ, **step.env},
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.STDOUT,
        process_group=0,  # and the session it is in already: who ends that ends this too
    )
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if _signalled(process, signal.SIGTERM):
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        _signalled(process, signal.SIGKILL)
    process.wait()


def _signalled(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """False if nobody of the group lives any more."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def _death(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    with suppress(ValueError):
        return f"ended by {signal.Signals(-status).name}"
    return f"ended by signal {-status}"


def _last_lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()[-LAST_LINES:] if log.exists() else []
