"""Does a test fail when the engine is broken? Tries the seeded defects of tests/mutants/mutants.toml, one by one.

Each is put into the sources in place, built (only what changed), met with its tests, and taken out again: in every
case, Ctrl-C included, and after a crash at the next start. A mutant is caught if its tests fail in both of two runs. At
the end docs/mutants.md is written, if all were tried.
``--double`` does so with those that take an order of streams away, on CUDA tensors under tests/cuda_double: run by the
interpreter of a CUDA environment, with STORM_CUDA=1.
``--check`` builds nothing: are the texts to replace still there, each once, and do the named tests exist?
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SEEDS = Path("tests/mutants/mutants.toml")
TABLE = Path("docs/mutants.md")
JOURNAL = Path("build/mutant.json")  # the original of the file that is changed just now
TIME_LIMIT = 60.0  # seconds for a mutant's tests, which pass within a few
RUNS = 2  # each of which must fail: what fails sometimes is not caught

HEADER = """\
# Seeded defects, and the tests that catch them

Made by `make mutants`; do not edit. Each row is a defect of a kind that asynchronous offloading has had somewhere, put
into the code on purpose by one replacement (`tests/mutants/mutants.toml`). The test named beside it failed then, in two
runs of two. Where the order of streams is at stake it holds one of them still, so that the defect shows each time.

"""
FOOTER = """
`make mutants ARGS="-k window"` tries those whose names hold "window" and leaves this file alone. A mutant whose text is
no longer in the sources fails `tests/mutants`, in each ordinary test run.

Not listed: the wait of a copy back for its copy out, taken out alone, changes nothing. A tensor leaves the device only
when its copy out is over, or after the stream that governs its memory was told to wait for that copy, and the copy back
waits for this stream too. Without both waits it is "early copy back of unfilled bytes".
"""

DOUBLE = "\n## Under the double of the CUDA runtime\n"
DOUBLE_HEADER = """
Made by `tools/mutants.py --double` with the CUDA build of torch: the mutants that take an order of streams away, tried
again on `cuda` tensors under `tests/cuda_double`, where torch's own CUDA allocator and streams drive the engine.

"""


class MutantError(Exception):
    """Says in one sentence why a mutant could not be tried."""


@dataclass(frozen=True)
class Mutant:
    """One replacement that must make `tests` fail."""

    name: str
    stands_for: str
    file: str
    old: str
    new: str
    tests: str  # what pytest is given
    takes_an_order: bool = False  # a stream no longer waits for another


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: the test that failed, or why none did."""

    caught: bool
    how: str


def load(root: Path = ROOT) -> list[Mutant]:
    """The seeded defects, those of one file behind each other."""
    found = [Mutant(**entry) for entry in tomllib.loads((root / SEEDS).read_text())["mutant"]]
    return sorted(found, key=lambda mutant: mutant.file)


def mutated(mutant: Mutant, root: Path = ROOT) -> str:
    """The file's text with the defect in it.

    Raises:
        MutantError: The mutant is out of date.
    """
    path = root / mutant.file
    text = path.read_text() if path.is_file() else ""
    count = text.count(mutant.old)
    if count != 1:
        raise MutantError(f"mutant '{mutant.name}' is out of date: its text is {count} times in {mutant.file}")
    if mutant.new == mutant.old:
        raise MutantError(f"mutant '{mutant.name}' changes nothing")
    return text.replace(mutant.old, mutant.new)


def check(mutants: Sequence[Mutant], root: Path = ROOT) -> list[str]:
    """What is wrong with the seeds, found without building or running anything."""
    problems = []
    for mutant in mutants:
        try:
            mutated(mutant, root)
        except MutantError as error:
            problems.append(str(error))
        for node in mutant.tests.split():
            file, _, test = node.partition("::")
            path = root / file
            if not path.is_file() or (test and f"def {test}(" not in path.read_text()):
                problems.append(f"mutant '{mutant.name}' names the test {node}, which does not exist")
    names = [mutant.name for mutant in mutants]
    problems += [f"two mutants are named '{name}'" for name in sorted({n for n in names if names.count(n) > 1})]
    return problems


@contextlib.contextmanager
def seeded(mutant: Mutant, root: Path = ROOT) -> Iterator[None]:
    """The defect is in the sources inside the block. Not even a crash makes it stay: see `recover`."""
    path, journal = root / mutant.file, root / JOURNAL
    text = mutated(mutant, root)
    journal.parent.mkdir(exist_ok=True)
    journal.write_text(json.dumps({"file": mutant.file, "text": path.read_text()}))
    try:
        path.write_text(text)
        yield
    finally:
        recover(root)


def recover(root: Path = ROOT) -> bool:
    """Puts the original back that the journal holds; whether there was one."""
    journal = root / JOURNAL
    if not journal.is_file():
        return False
    entry = json.loads(journal.read_text())
    (root / entry["file"]).write_text(entry["text"])
    journal.unlink()
    return True


def run(command: Sequence[str], root: Path, limit: float | None = None) -> tuple[int, str]:
    """Exit status and output. Whatever ends this early ends the command and all it has started: a compiler that went
    on would write the object of a mutant after its source is put back.
    """
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate(timeout=limit)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, output


def build(root: Path = ROOT) -> None:
    """Builds what changed.

    Raises:
        MutantError: It does not compile, so it says nothing about the tests.
    """
    status, output = run([sys.executable, "setup.py", "build_ext", "--inplace"], root)
    if status != 0:
        raise MutantError("it does not compile:\n" + "\n".join(output.splitlines()[-20:]))


def judge(command: Sequence[str], root: Path = ROOT, limit: float = TIME_LIMIT) -> Verdict:
    """Runs pytest, or what stands in for it, and reads what it found.

    Raises:
        MutantError: It did not get as far as a test, or skipped all.
    """
    try:
        status, output = run(command, root, limit)
    except subprocess.TimeoutExpired:
        return Verdict(True, f"hung for {limit:g} s")
    failed = re.search(r"^(?:FAILED|ERROR) (\S+?::\w+)", output, re.MULTILINE)
    if status < 0:
        return Verdict(True, f"crashed with {signal.Signals(-status).name}")
    if status == 1 and failed:
        return Verdict(True, failed[1])
    if status == 0 and re.search(r"\d+ passed", output):
        return Verdict(False, "SURVIVED")
    tail = "\n".join(output.splitlines()[-20:])
    raise MutantError(f"no test ran to its end (exit status {status}):\n{tail}")


def judge_often(command: Sequence[str], root: Path = ROOT) -> Verdict:
    """Runs it again while it fails: caught is what fails in each of `RUNS` runs. A hang is not waited for twice."""
    first = judge(command, root)
    if not first.caught or first.how.startswith("hung"):
        return first
    if all(judge(command, root).caught for _ in range(RUNS - 1)):
        return first
    return Verdict(False, f"SURVIVED one of {RUNS} runs")


def pytest_command(tests: Sequence[str], double: bool = False) -> list[str]:
    under = [sys.executable, "-m", "tests.cuda_double"] if double else []
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-o", "timeout=0"]
    return [*under, *pytest, *tests]


def try_all(mutants: Sequence[Mutant], double: bool = False) -> dict[str, Verdict]:
    """Each mutant's verdict, said as it comes. The sources and the build are as before, whatever happens."""
    verdicts: dict[str, Verdict] = {}
    try:
        for mutant in mutants:
            began = time.monotonic()
            with seeded(mutant):
                try:
                    build()
                    verdicts[mutant.name] = judge_often(pytest_command(mutant.tests.split(), double))
                except MutantError as error:
                    verdicts[mutant.name] = Verdict(False, f"NOT TRIED: {error}")
            print(f"{mutant.name:45} {verdicts[mutant.name].how}  ({time.monotonic() - began:.0f} s)", flush=True)
    finally:
        print("Building the sources as they were", flush=True)
        build()
    return verdicts


def table(mutants: Sequence[Mutant], verdicts: dict[str, Verdict]) -> str:
    """How many were caught, and how each."""
    caught = sum(verdict.caught for verdict in verdicts.values())
    rows = ["| mutant | stands for | in | caught by |", "|---|---|---|---|"]
    for mutant in mutants:
        how = verdicts[mutant.name].how
        shown = f"`{how.removeprefix('tests/')}`" if "::" in how else how
        if not verdicts[mutant.name].caught:
            shown = f"**{how.splitlines()[0]}**"
        elif "::" not in how:
            shown += f": `{mutant.tests.removeprefix('tests/')}`"
        rows.append(f"| {mutant.name} | {mutant.stands_for} | `{mutant.file.removeprefix('csrc/')}` | {shown} |")
    return f"{caught} of {len(mutants)} caught.\n\n" + "\n".join(rows) + "\n"


def write_table(text: str, double: bool, root: Path = ROOT) -> None:
    """Puts one of the two tables into docs/mutants.md; the other stays."""
    path = root / TABLE
    first, mark, second = path.read_text().partition(DOUBLE) if path.is_file() else ("", "", "")
    if double:
        path.write_text(first + DOUBLE + DOUBLE_HEADER + text)
    else:
        path.write_text(HEADER + text + FOOTER + mark + second)


def main() -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-k", default="", metavar="TEXT", help="only mutants whose names hold this")
    parser.add_argument("--double", action="store_true", help="under the double of the CUDA runtime")
    parser.add_argument("--check", action="store_true", help="only say whether the mutants are up to date")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the sources are put back
    if not arguments.check and recover():  # a check may be made beside a run
        print("A run before this one was killed: its mutant is taken out again")
    mutants = load()
    if problems := check(mutants):
        print("\n".join(problems))
        return 1
    if arguments.check:
        return 0
    candidates = [mutant for mutant in mutants if mutant.takes_an_order or not arguments.double]
    chosen = [mutant for mutant in candidates if arguments.k in mutant.name]
    if not chosen:
        print(f"no mutant's name holds {arguments.k!r}")
        return 1
    build()
    print("The tests, on sound sources", flush=True)
    tests = sorted({node for mutant in chosen for node in mutant.tests.split()})
    sound = judge(pytest_command(tests, arguments.double), limit=600)
    if sound.caught:
        print(f"they fail without any mutant: {sound.how}")
        return 1
    verdicts = try_all(chosen, arguments.double)
    if chosen == candidates:
        write_table(table(chosen, verdicts), arguments.double)
    return 0 if all(verdict.caught for verdict in verdicts.values()) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; the sources are as they were")
