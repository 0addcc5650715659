"""docs/semantics.md says what the tests of this folder say; whether they pass, this very run tells."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import pamiq_storm

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "semantics_table.py"


def all_tests_are_here(session: pytest.Session) -> bool:
    """Nothing of the folder was left out of this run."""
    option = session.config.option
    files = {item.path for item in session.items}
    whole = not option.keyword and not option.markexpr and not any("::" in arg for arg in session.config.args)
    return whole and all(file in files for file in Path(__file__).parent.glob("test_*.py"))


def test_the_table_has_the_row_of_every_test(request: pytest.FixtureRequest) -> None:
    if not all_tests_are_here(request.session):
        done = subprocess.run(
            [sys.executable, TOOL, "--check"],
            capture_output=True, text=True, timeout=100, cwd=Path(pamiq_storm.__file__).parents[1],
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return
    spec = importlib.util.spec_from_file_location("semantics_table", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    recorder = tool.Recorder()
    recorder.take(request.session.items)
    assert tool.differences(recorder, (ROOT / "docs" / "semantics.md").read_text()) == []
