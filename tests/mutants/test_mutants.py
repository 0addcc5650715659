"""The seeded defects are up to date, and the tool that tries them tells the truth and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import mutants  # noqa: E402
from mutants import Mutant, MutantError, Verdict  # noqa: E402

TEXT = "int one() { return 1; }\nint two() { return 2; }\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with one source file and one test, whose pytest starts quickly."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "one.cpp").write_text(TEXT)
    (tmp_path / "test_one.py").write_text("def test_one() -> None:\n    pass\n")
    return tmp_path


def mutant(old: str = "return 1", new: str = "return 3", tests: str = "test_one.py::test_one") -> Mutant:
    return Mutant("three", "a wrong number", "one.cpp", old, new, tests)


def judge_a_test(root: Path, body: str) -> Verdict:
    (root / "test_it.py").write_text(f"import pytest\n\n\ndef test_it():\n    {body}\n")
    return mutants.judge(mutants.pytest_command(["test_it.py"]), root, limit=60)


def test_the_seeds_are_up_to_date() -> None:
    """Whoever changes the text that a mutant replaces says here what the defect looks like now."""
    assert mutants.check(mutants.load()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (mutant(old="return 4"), "'three' is out of date: its text is 0 times in one.cpp"),
        (mutant(old="return"), "'three' is out of date: its text is 2 times in one.cpp"),
        (mutant(new="return 1"), "'three' changes nothing"),
        (mutant(tests="test_two.py"), "names the test test_two.py, which does not exist"),
        (mutant(tests="test_one.py::test_two"), "names the test test_one.py::test_two, which does not exist"),
    ],
    ids=["no text", "text twice", "no change", "no test file", "no test"],
)
def test_what_is_wrong_with_a_seed_is_said(wrong: Mutant, message: str, root: Path) -> None:
    (problem,) = mutants.check([wrong], root)
    assert message in problem
    assert mutants.check([mutant()], root) == []


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, MutantError, SystemExit])
def test_the_source_is_put_back_whatever_happens(end: type[BaseException] | None, root: Path) -> None:
    def use() -> None:
        with mutants.seeded(mutant(), root):
            assert (root / "one.cpp").read_text() == TEXT.replace("return 1", "return 3")
            if end is not None:
                raise end

    if end is None:
        use()
    else:
        with pytest.raises(end):
            use()
    assert (root / "one.cpp").read_text() == TEXT
    assert not mutants.recover(root)


def test_a_run_that_was_killed_is_cleaned_up_by_the_next(root: Path) -> None:
    script = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "tools")!r})
import mutants
broken = mutants.Mutant("three", "a wrong number", "one.cpp", "return 1", "return 3", "test_one.py")
with mutants.seeded(broken, Path({str(root)!r})):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", script]).returncode == -signal.SIGKILL
    assert (root / "one.cpp").read_text() != TEXT
    assert mutants.recover(root)
    assert (root / "one.cpp").read_text() == TEXT


def test_a_failing_test_is_named(root: Path) -> None:
    assert judge_a_test(root, "assert False") == Verdict(True, "test_it.py::test_it")


def test_what_fails_only_once_is_not_caught(root: Path) -> None:
    body = "import pathlib; p = pathlib.Path('ran'); old = p.exists(); p.touch(); assert old"
    (root / "test_it.py").write_text(f"def test_it():\n    {body}\n")
    assert mutants.judge_often(mutants.pytest_command(["test_it.py"]), root) == Verdict(False, "SURVIVED one of 2 runs")
    assert mutants.judge_often(mutants.pytest_command(["test_it.py"]), root) == Verdict(False, "SURVIVED")


def test_passing_tests_let_a_mutant_survive(root: Path) -> None:
    assert judge_a_test(root, "pass") == Verdict(False, "SURVIVED")


def test_a_crash_is_a_catch(root: Path) -> None:
    assert judge_a_test(root, "import os; os.abort()") == Verdict(True, "crashed with SIGABRT")


def test_a_hang_is_a_catch_and_leaves_no_process(root: Path) -> None:
    script = "import os, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\nwhile True: pass"
    assert mutants.judge([sys.executable, "-c", script], root, limit=3) == Verdict(True, "hung for 3 s")
    with pytest.raises(ProcessLookupError):
        os.kill(int((root / "pid").read_text()), 0)


@pytest.mark.parametrize("body", ["pytest.skip('not here')", "pass\n\n\n1 / 0"], ids=["skipped", "not collected"])
def test_what_did_not_run_is_no_verdict(body: str, root: Path) -> None:
    with pytest.raises(MutantError, match="no test ran to its end"):
        judge_a_test(root, body)


def test_the_table_says_what_survived() -> None:
    seeds = [mutant(), Mutant("four", "another one", "csrc/one.cpp", "a", "b", "tests/test_one.py")]
    text = mutants.table(
        seeds, {"three": Verdict(False, "SURVIVED"), "four": Verdict(True, "tests/test_one.py::test_x")}
    )
    assert "1 of 2 caught." in text
    assert "| three | a wrong number | `one.cpp` | **SURVIVED** |" in text
    assert "| four | another one | `one.cpp` | `test_one.py::test_x` |" in text
