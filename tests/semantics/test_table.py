"""docs/semantics.md says what the tests of this folder say; whether they pass, this very run tells."""

import subprocess
import sys
from pathlib import Path

import pamiq_storm

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_has_the_row_of_every_test() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "semantics_table.py", "--check"],
        capture_output=True, text=True, timeout=100, cwd=Path(pamiq_storm.__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
