"""The README is code: its Python runs in order, its commands exist, its links lead somewhere."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import pamiq_storm

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
NOT_RUN = ("git clone ", "cd ", "pip install ", "python -m pip install ", "STORM_CUDA=")
"""Commands of somebody else's, or that change the machine."""

TORCH_OWN = "OutOfMemoryError"

HERE = os.environ | {"PYTHONPATH": str(Path(pamiq_storm.__file__).parents[1])}
"""For a package that is built in place and not installed."""


def commands() -> list[str]:
    lines = [line.split("#")[0].strip() for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
    return [line for line in lines if line]


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    assert {kind for kind, _ in BLOCKS} == {"python", "sh"}


def test_it_is_short() -> None:
    assert len(TEXT.splitlines()) <= 150


def test_the_python_runs_from_top_to_bottom(tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    script.write_text("\n".join(block for kind, block in BLOCKS if kind == "python"))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100, cwd=tmp_path, env=HERE)
    assert done.returncode == 0, done.stderr


def test_each_command_is_run_by_a_test_or_known() -> None:
    unknown = [c for c in commands() if not c.startswith((*NOT_RUN, "make ", "python -m pamiq_storm "))]
    assert unknown == []


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("make ")])
def test_make_targets_exist(command: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert command.split()[1] in targets


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("python -m pamiq_storm ")])
def test_commands_run(command: str, tmp_path: Path) -> None:
    words = [sys.executable, *shlex.split(command)[1:]]
    if "info" not in words:
        words.append("--quick")
    done = subprocess.run(words, capture_output=True, text=True, timeout=110, cwd=tmp_path, env=HERE)
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_lead_to_files() -> None:
    targets = [link for link in re.findall(r"\]\(([^)#]+)", TEXT) if not link.startswith("http")]
    assert targets
    assert [link for link in targets if not (ROOT / link).exists()] == []


def test_quoted_errors_are_in_the_sources() -> None:
    files = [
        p
        for folder in ("csrc", "pamiq_storm", "tools")
        for p in (ROOT / folder).rglob("*")
        if p.suffix in (".cpp", ".py")
    ]
    sources = "\n".join(re.sub(r'"\s*\n\s*f?"', "", p.read_text()) for p in files)
    quoted = re.findall(r"^\| `([^`]+)` \|", TEXT[TEXT.index("## Errors") :], re.MULTILINE)
    assert len(quoted) >= 5
    fragments = [part.strip() for message in quoted for part in message.split("...") if message != TORCH_OWN]
    assert [part for part in fragments if part not in sources] == []


def test_quoted_figures_are_those_of_the_committed_run() -> None:
    """Every row of the README's table stands in benchmarks/results/demo.json."""
    from pamiq_storm.bench.docs import figures_table
    from pamiq_storm.results import Results

    assert figures_table(Results.read(ROOT / "benchmarks" / "results" / "demo.json")) in TEXT
