"""The one format of every result: what is written is what is read, and nothing else passes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pamiq_storm.atomic import write_atomically
from pamiq_storm.results import (
    HookRow,
    OffloadRow,
    Results,
    ResultsError,
    collect,
    source_commit,
    write_together,
)

HOOK = HookRow("none", "kept", 1.5, 0.5, 0.0, 0.0, 100)
OFFLOAD = OffloadRow(
    workload="w", arm="storm", profile="p", budget_bytes=None, step_ms=1.5, step_ms_p10=1, step_ms_p90=2.0,
    peak_allocated_bytes=1, peak_reserved_bytes=2, d2h_bytes=3, h2d_bytes=4, pinned_bytes=5, late_fetches=0,
    lower_bound_ms=1.25, races=None, bit_identical=True,
)  # fmt: skip


def hooks() -> Results:
    return collect("hooks", "sim", True, "p", [HOOK], {"note": [1, 2.5, None, "x"]})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    for results in (hooks(), collect("demo", "sim", True, "p", [OFFLOAD, replace(OFFLOAD, arm="none")])):
        results.write(tmp_path / "r.json")
        assert Results.read(tmp_path / "r.json") == results


def test_the_document_has_the_agreed_keys() -> None:
    document = collect("demo", "sim", True, "p", [OFFLOAD]).to_json()
    assert set(document) == {"suite", "device", "simulated", "profile", "torch", "commit", "date", "rows", "facts"}
    agreed = {
        "workload", "arm", "profile", "budget_bytes", "step_ms", "peak_allocated_bytes", "peak_reserved_bytes",
        "d2h_bytes", "h2d_bytes", "pinned_bytes", "late_fetches", "lower_bound_ms", "races", "bit_identical",
    }  # fmt: skip
    assert agreed <= set(document["rows"][0])


def test_facts_may_be_left_out() -> None:
    document = hooks().to_json()
    del document["facts"]
    assert Results.from_json(document).facts == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suite": "nonsense"}, "nonsense"),
        ({"device": None}, "result.device"),
        ({"simulated": 1}, "result.simulated"),
        ({"rows": {}}, "result.rows"),
        ({"rows": [1]}, r"rows\[0\]"),
        ({"extra": 1}, "unknown extra"),
        ({"facts": {"a": [float("nan")]}}, r"facts.a\[0\]"),
    ],
)
def test_a_document_that_breaks_the_format_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultsError, match=message):
        Results.from_json(hooks().to_json() | change)


@pytest.mark.parametrize(
    ("key", "value"),
    [("forward_us", "1"), ("forward_us", float("inf")), ("forward_us", True), ("tensors", 1.5), ("tensors", True)],
)
def test_a_row_with_a_value_of_another_type_is_refused(key: str, value: object) -> None:
    document = hooks().to_json()
    document["rows"][0][key] = value
    with pytest.raises(ResultsError, match=rf"rows\[0\].{key}"):
        Results.from_json(document)


def test_a_missing_key_is_named() -> None:
    document = hooks().to_json()
    del document["rows"][0]["hook"]
    with pytest.raises(ResultsError, match=r"rows\[0\] lacks hook"):
        Results.from_json(document)


def test_results_that_break_the_format_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="step_ms"):
        collect("demo", "sim", True, "p", [replace(OFFLOAD, step_ms=float("nan"))]).write(tmp_path / "r.json")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.json"
    write_atomically(path, b"old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
    assert path.read_bytes() == b"old"


def test_files_are_written_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_together(tmp_path / "whole", {"a": b"1", "b": b"2"})
    assert (tmp_path / "whole" / "b").read_bytes() == b"2"
    original = Path.replace

    def interrupted_at_b(path: Path, target: Path) -> Path:
        if target.name == "b":
            raise KeyboardInterrupt
        return original(path, target)

    monkeypatch.setattr(Path, "replace", interrupted_at_b)
    with pytest.raises(KeyboardInterrupt):
        write_together(tmp_path / "broken", {"a": b"1", "b": b"2"})
    assert not (tmp_path / "broken").exists()


def test_the_file_is_json_for_everyone(tmp_path: Path) -> None:
    hooks().write(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["rows"][0]["hook"] == "none"


def test_the_commit_is_a_commit_or_nothing() -> None:
    commit = source_commit()
    assert commit is None or len(commit.removesuffix("+changes")) == 40
