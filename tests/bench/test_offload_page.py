"""The benchmark's page says what the committed run found, and no more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pamiq_storm.bench.offload import page
from pamiq_storm.bench.offload.arms import KINDS
from pamiq_storm.bench.offload.earlier import Earlier
from pamiq_storm.bench.offload.ladder import ARMS
from pamiq_storm.bench.offload.workloads import FULL
from pamiq_storm.profile import load_profile
from pamiq_storm.results import ArmRow, Results

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "offload-benchmark.md"
TEXT = PAGE.read_text()


@pytest.fixture(scope="module")
def committed() -> Results:
    return Results.read(ROOT / "benchmarks" / "results" / "offload.json")


def test_the_generated_parts_are_those_of_the_committed_run(committed: Results) -> None:
    assert page.fill(TEXT, page.parts(committed)) == TEXT


def test_the_committed_run_is_whole_and_simulated(committed: Results) -> None:
    rows = [row for row in committed.rows if isinstance(row, ArmRow)]
    assert committed.simulated
    assert {row.workload for row in rows} == set(FULL)
    assert {row.arm for row in rows} == set(KINDS)
    assert [f"{row.workload} {row.arm}" for row in rows if row.step_ms is None] == []


def test_every_table_and_heading_with_figures_is_labelled(committed: Results) -> None:
    parts = page.parts(committed)
    assert "every figure on this page is simulated" in TEXT
    for name in ("against", "ranges", "ladder", "factors", "memory then"):
        assert "simulated" in parts[name].splitlines()[0]
    headings = re.findall(r"^### .*$", parts["table"], re.MULTILINE)
    assert headings
    assert [heading for heading in headings if not heading.endswith(", simulated")] == []


def test_a_conclusion_held_in_every_variant(committed: Results) -> None:
    sensitivity = committed.facts["sensitivity"]
    verdicts = {verdict["text"]: verdict for verdict in sensitivity["verdicts"]}
    listed = re.findall(r"^\* (.*)$", page.parts(committed)["conclusions"], re.MULTILINE)
    assert listed
    assert len(sensitivity["variants"]) == 9
    assert [text for text in listed if verdicts[text]["held"] != verdicts[text]["of"]] == []
    assert [text for text, verdict in verdicts.items() if verdict["of"] != 9 and "race" not in text] == []


def test_links_and_figures_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)", TEXT)
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


def test_each_difference_from_the_earlier_figures_is_shown(committed: Results) -> None:
    earlier = Earlier.read(ROOT / "benchmarks" / "offload_earlier.json")
    ladder = committed.facts["ladder"]
    for row in earlier.rows:
        there = ladder[f"{row.workload} on {row.profile}"]
        assert set(there) == set(ARMS)
        assert [values[0] for arm, values in there.items() if arm != "none"] == [row.ratio[arm] for arm in ARMS[1:]]
        assert there["none"][0] == row.none_ms


def test_the_machines_of_then_differ_from_the_profiles_in_what_is_written_down() -> None:
    earlier = Earlier.read(ROOT / "benchmarks" / "offload_earlier.json")
    for row in earlier.rows:
        profile = load_profile(row.profile)
        then = earlier.machine(profile)
        assert then.d2h_bytes_per_s == earlier.numbers[row.profile]["d2h_bytes_per_s"]
        assert then.memory_bytes == profile.memory_bytes
