"""`make gpu` runs its steps within their time, goes on where it stopped, and says what it did not run."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.programs import ROOT
from tools.gpu import __main__ as program
from tools.gpu import runner
from tools.gpu.book import Book, Outcome, Status, digest_of_sources
from tools.gpu.machine import Unsuitable
from tools.gpu.runner import Step

KEY = {"sources": "1", "gpu": "one"}
LONG = 1000.0


def step(name: str, code: str = "pass", **others: object) -> Step:
    values = {"expected_s": 0.0, "limit_s": 60.0, **others}
    return Step(name, (sys.executable, "-S", "-c", code), **values)  # type: ignore[arg-type]


def counting(name: str, folder: Path, **others: object) -> Step:
    """Leaves a mark for each time that it ran."""
    return step(name, f"open({str(folder / name)!r}, 'a').write('x')", **others)


def times(folder: Path, name: str) -> int:
    return len((folder / name).read_text()) if (folder / name).exists() else 0


def run(steps: list[Step], folder: Path, budget_s: float = LONG, key: dict[str, str] = KEY) -> tuple[Book, list[str]]:
    book, said = Book(folder / "state.json", key), list[str]()
    runner.run(steps, book, folder, budget_s, said.append)
    return book, said


def ends(pid: int) -> bool:
    """A signal reaches a process when the system gets to it."""
    until = time.monotonic() + 20
    while not _gone(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"  # dead; who adopted it has not looked yet


def test_what_passed_is_not_run_again_and_the_rest_is(tmp_path: Path) -> None:
    steps = [counting("one", tmp_path), step("two", "import sys; sys.exit(3)"), counting("three", tmp_path)]
    book, said = run(steps, tmp_path)
    assert [str(book.status(s.name)) for s in steps] == ["passed", "failed", "passed"]
    assert "two: failed: exit status 3" in said
    assert program.verdict(steps, book) == program.FAILED
    again, _ = run([steps[0], counting("two", tmp_path), steps[2]], tmp_path)
    assert (times(tmp_path, "one"), times(tmp_path, "two"), times(tmp_path, "three")) == (1, 1, 1)
    assert program.verdict(steps, again) == 0


@pytest.mark.parametrize("changed", ["sources", "gpu"])
def test_other_sources_or_another_device_begin_anew(tmp_path: Path, changed: str) -> None:
    steps = [counting("one", tmp_path)]
    run(steps, tmp_path)
    run(steps, tmp_path, key={**KEY, changed: "another"})
    assert times(tmp_path, "one") == 2


def test_any_source_file_counts_and_what_is_generated_does_not(tmp_path: Path) -> None:
    for name in ("csrc/a.cpp", "pamiq_storm/b.py", "setup.py", "benchmarks/results/gpu/r.json", "pamiq_storm/_C.so"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    before = digest_of_sources(tmp_path)
    for name in ("benchmarks/results/gpu/r.json", "pamiq_storm/_C.so"):
        (tmp_path / name).write_text("2")
    assert digest_of_sources(tmp_path) == before
    seen = {before}
    for name in ("csrc/a.cpp", "pamiq_storm/b.py", "setup.py"):
        (tmp_path / name).write_text("2")
        seen.add(digest_of_sources(tmp_path))
    assert len(seen) == 4


def test_what_there_is_no_time_for_is_said_and_comes_next(tmp_path: Path) -> None:
    steps = [counting("long", tmp_path, expected_s=50.0), counting("short", tmp_path)]
    book, said = run(steps, tmp_path, budget_s=20)
    assert book.outcomes["long"].status is Status.OUT_OF_TIME
    assert any(line.startswith("long: not run: out of time: it takes 50 s, and ") for line in said)
    assert times(tmp_path, "short") == 1  # what fits is run
    assert program.verdict(steps, book) == program.UNFINISHED
    again, _ = run(steps, tmp_path)
    assert program.verdict(steps, again) == 0


def test_a_step_that_meets_the_end_of_all_time_is_not_a_failure(tmp_path: Path) -> None:
    book, _ = run([step("sleeps", "import time; time.sleep(60)")], tmp_path, budget_s=0.3)
    assert book.outcomes["sleeps"].status is Status.OUT_OF_TIME
    assert "when the whole run's time was over" in book.outcomes["sleeps"].reason


def test_at_its_limit_a_step_is_killed_with_all_its_children(tmp_path: Path) -> None:
    child = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(__import__('os').getpid())); import time; time.sleep(60)"
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + child
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-S', '-c', {stubborn!r}]); time.sleep(60)"
    book, said = run([step("hangs", code, limit_s=2.0), counting("next", tmp_path)], tmp_path)
    assert "hangs: failed: killed at its limit of 2 s" in said
    assert ends(int((tmp_path / "pid").read_text()))
    assert times(tmp_path, "next") == 1
    assert program.verdict([step("hangs"), step("next")], book) == program.FAILED


def test_what_needs_a_failed_step_is_not_run_and_says_so(tmp_path: Path) -> None:
    steps = [step("build", "import sys; sys.exit(1)"), counting("suite", tmp_path, needs=("build",))]
    book, said = run(steps, tmp_path)
    assert times(tmp_path, "suite") == 0
    assert "suite: not run: it needs build" in said
    steps[0] = step("build")
    book, _ = run(steps, tmp_path)  # what others wait for comes first though it has failed before
    assert program.verdict(steps, book) == 0


def test_what_has_failed_before_comes_last(tmp_path: Path) -> None:
    book = Book(tmp_path / "state.json", KEY)
    book.record("one", Outcome(Status.FAILED))
    book.record("two", Outcome(Status.OUT_OF_TIME))
    steps = [step("one"), step("two"), step("three")]
    assert [s.name for s in runner.in_order(steps, book)] == ["two", "three", "one"]


def test_a_step_must_write_what_it_should_anew(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text("of another run")
    book, _ = run([step("bench", writes=(tmp_path / "r.json",))], tmp_path)
    assert str(book.outcomes["bench"]) == "failed: it did not write r.json"


def test_a_tool_that_is_missing_is_a_failure_and_what_makes_no_sense_here_is_none(tmp_path: Path) -> None:
    steps = [step("memcheck", missing="no sanitizer: type this."), step("racecheck", left_out="the double has no GPU")]
    book, said = run(steps, tmp_path)
    assert said == ["memcheck: failed: no sanitizer: type this.", "racecheck: left out: the double has no GPU"]
    assert program.verdict(steps[1:], book) == 0


def test_a_failure_shows_the_end_of_its_log(tmp_path: Path) -> None:
    _, said = run([step("loud", "print('a\\nb'); raise SystemExit('the reason')")], tmp_path)
    assert [line.strip() for line in said[-3:]] == ["a", "b", "the reason"]


def test_a_signal_ends_the_step_and_keeps_what_has_passed(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from tests.gpu.test_runner import KEY, counting, step
from tools.gpu import __main__ as program, runner
from tools.gpu.book import Book
folder = Path({str(tmp_path)!r})
sleeper = "import os, time; open({str(tmp_path / "pid")!r}, 'w').write(str(os.getpid())); time.sleep(60)"
with program._ended_politely():
    steps = [counting("one", folder), step("sleeps", sleeper)]
    runner.run(steps, Book(folder / "state.json", KEY), folder, 100, lambda line: print(line, flush=True))
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    pid = tmp_path / "pid"
    until = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()) and time.monotonic() < until and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert "Interrupted" in errors
    assert ends(int(pid.read_text()))
    assert Book(tmp_path / "state.json", KEY).status("one") is Status.PASSED


def test_two_runs_at_a_time_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (
            pytest.raises(Unsuitable, match=r"another run is under way in .*: wait for its end\."),
            program._alone(tmp_path),
        ):
            pass
    with program._alone(tmp_path):
        pass


def test_a_kill_while_the_book_is_written_leaves_the_old_one(tmp_path: Path) -> None:
    book = Book(tmp_path / "state.json", KEY)
    book.record("one", Outcome(Status.PASSED))
    (tmp_path / "state.new").write_text('{"key"')
    assert Book(tmp_path / "state.json", KEY).status("one") is Status.PASSED
    (tmp_path / "state.json").write_text("nothing that is JSON")
    assert Book(tmp_path / "state.json", KEY).outcomes == {}


def test_chosen_steps_bring_what_they_need() -> None:
    steps = [step("a"), step("b", needs=("a",)), step("c", needs=("b",)), step("d")]
    assert [s.name for s in program.chosen(steps, ["c"])] == ["a", "b", "c"]
    assert program.chosen(steps, []) == steps
    with pytest.raises(Unsuitable, match="there is no step x; there are a, b, c, d"):
        program.chosen(steps, ["x"])


def test_environment_reaches_the_step(tmp_path: Path) -> None:
    shown = replace(step("env", "import os, sys; sys.exit(os.environ['WORD'] != 'yes')"), env={"WORD": "yes"})
    book, _ = run([shown], tmp_path)
    assert book.status("env") is Status.PASSED
    assert "WORD" not in os.environ
