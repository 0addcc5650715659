"""`python -m tools.gpu`: see `make gpu`."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from tools.gpu import machine as machines
from tools.gpu import runner
from tools.gpu.book import Book, Status, digest_of_sources
from tools.gpu.machine import Machine, Unsuitable
from tools.gpu.runner import Interrupted, Step
from tools.gpu.steps import Place, steps

ROOT = Path(__file__).resolve().parents[2]
REPORT_S = 45
FAILED, UNSUITABLE, UNFINISHED, INTERRUPTED = 1, 2, 3, 130
"""Exit statuses. Unfinished: nothing failed, but there was no time for all."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    options = _parser().parse_args(arguments)
    folder = options.folder or ROOT / "build" / ("gpu-dry" if options.dry else "gpu")
    place = Place(ROOT, folder.resolve(), options.dry, options.wheels and options.wheels.resolve())
    os.chdir(ROOT)
    try:
        with _alone(place.folder), _ended_politely():
            return _run(place, options)
    except Unsuitable as error:
        print(f"make gpu: {error}", file=sys.stderr)
        return UNSUITABLE
    except Interrupted:
        print("interrupted: what had passed is remembered", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make gpu", description=__doc__)
    parser.add_argument("--dry", action="store_true", help="small sizes, on the double of CUDA's runtime")
    parser.add_argument("--minutes", type=float, default=25, help="time for all of it; a second call goes on")
    parser.add_argument("--wheels", type=Path, help="folder with what pip would have to fetch")
    parser.add_argument("--only", nargs="+", metavar="STEP", default=[], help="these steps, and what they need")
    parser.add_argument("--anew", action="store_true", help="forget what has passed")
    parser.add_argument("--list", action="store_true", help="say what would be run")
    parser.add_argument("--folder", type=Path, help="instead of build/gpu")
    return parser


def _run(place: Place, options: argparse.Namespace) -> int:
    _say("make gpu: building the double if it has changed" if place.dry else "make gpu: asking torch for the device")
    machine = machines.look(place.prefix, place.env, ROOT)
    key = {"sources": digest_of_sources(ROOT), "torch": machine.torch, "gpu": machine.gpu, "python": machine.python}
    if options.anew:
        (place.folder / "state.json").unlink(missing_ok=True)
    book = Book(place.folder / "state.json", key)
    wanted = chosen(steps(place, machine), options.only)
    if options.list:
        for step in wanted:
            print(f"{step.name:<30} {book.status(step.name) or 'to be run'}")
        return 0
    print(f"make gpu on {machine.gpu}, torch {machine.torch}, in {place.folder}", flush=True)
    if not book.goes_on:
        _clear(place.folder)
    _tell(place, machine)
    deadline = time.monotonic() + 60 * options.minutes - REPORT_S
    try:
        runner.run(wanted[:1], book, place.folder, deadline - time.monotonic(), _say)
        wanted = chosen(steps(place, machine), options.only)  # tools may have come with the packages
        runner.run(wanted, book, place.folder, deadline - time.monotonic(), _say)
    finally:
        status = _report(place)
    return status or verdict(wanted, book)


def chosen(all_steps: Sequence[Step], names: Sequence[str]) -> list[Step]:
    """The steps named and what they need; all of them if none is named.

    Raises:
        Unsuitable: a name is none.
    """
    known = {step.name: step for step in all_steps}
    if unknown := [name for name in names if name not in known]:
        raise Unsuitable(f"there is no step {', '.join(unknown)}; there are {', '.join(known)}.")
    wanted, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        wanted.add(name)
        waiting += [needed for needed in known[name].needs if needed not in wanted]
    return [step for step in all_steps if not names or step.name in wanted]


def verdict(wanted: Sequence[Step], book: Book) -> int:
    """0 if all that makes sense here has passed."""
    found = {book.status(step.name) for step in wanted}
    if Status.FAILED in found:
        return FAILED
    return UNFINISHED if found - {Status.PASSED, Status.LEFT_OUT} else 0


def _clear(folder: Path) -> None:
    """Results of other sources are not to be taken for those of these."""
    for pattern in ("*.json", "*.xml", "*.toml", "*.png", "demo/*", "logs/*"):
        for path in folder.glob(pattern):
            path.unlink()


def _tell(place: Place, machine: Machine) -> None:
    facts = {**asdict(machine), "dry": place.dry}
    (place.folder / "machine.json").write_text(json.dumps(facts, indent=1) + "\n")


def _report(place: Place) -> int:
    """In a process of its own: it needs packages that the first step may have brought."""
    results, page = place.folder / "results", place.folder / "gpu-results.md"
    if not place.dry and place.folder == ROOT / "build" / "gpu":
        results, page = ROOT / "benchmarks" / "results" / "gpu", ROOT / "docs" / "gpu-results.md"
    command = [sys.executable, "-m", "tools.gpu.report", str(place.folder), str(results), str(page)]
    return subprocess.run(command, env={**os.environ, **place.env}, cwd=ROOT).returncode


def _say(line: str) -> None:
    print(line, flush=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two runs would take the device from each other."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Unsuitable(f"another run is under way in {folder}: wait for its end.") from None
        yield


@contextmanager
def _ended_politely() -> Iterator[None]:
    """Who ends this process ends its step, too."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
