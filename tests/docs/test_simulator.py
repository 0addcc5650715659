"""docs/simulator.md is kept in step: its code runs, its tables are those of the kept results and of the profiles."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pamiq_storm
from pamiq_storm.bench import profile_table
from pamiq_storm.bench.docs import with_section
from pamiq_storm.bench.fidelity.report import markdown
from pamiq_storm.profile import NUMBERS
from pamiq_storm.results import Results

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "simulator.md").read_text()


def test_the_tables_are_those_of_the_kept_results_and_of_the_profiles() -> None:
    assert with_section(TEXT, "profiles", profile_table.markdown()) == TEXT
    kept = Results.read(ROOT / "benchmarks" / "results" / "fidelity.json")
    assert with_section(TEXT, "fidelity", markdown(kept)) == TEXT


def test_every_number_of_a_profile_is_in_its_table() -> None:
    assert profile_table.SAYS.keys() == set(NUMBERS)


@pytest.mark.parametrize("text", ["no marks", "<!-- x: end -->\n<!-- x: begin -->\n"])
def test_a_page_without_the_section_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the page needs one <!-- x: begin --> and one <!-- x: end --> after it"):
        with_section(text, "x", "content")


def test_the_python_runs_and_is_labelled() -> None:
    blocks: list[str] = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    block = "\n".join(blocks)
    package = str(Path(pamiq_storm.__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, timeout=100, cwd=package)
    assert done.returncode == 0, done.stderr
    assert "simulated" in done.stdout
    assert "must wait for" in done.stdout  # the race that the second block makes


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    assert targets
    assert all((ROOT / "docs" / target).exists() for target in targets)
