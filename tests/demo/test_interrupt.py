"""Ctrl-C ends the demo at once and leaves nothing behind."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.machine import DEVICE

PATIENCE_S = 20


def _as_on_a_terminal() -> None:
    """A job that a shell runs in the background ignores SIGINT, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("part", ["1. Without", "2. The same", "3. Bits", "4. Arms", "5. Live"])
def test_ctrl_c_leaves_no_file_and_no_process(part: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pamiq_storm",
        "demo",
        "--device",
        DEVICE,
        "--quick",
        "--out",
        str(tmp_path / "out"),
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_as_on_a_terminal
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(part):
                break
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        _, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert time.monotonic() - sent < PATIENCE_S
    assert err.splitlines() == ["interrupted: nothing was written"]
    assert list(tmp_path.iterdir()) == []
