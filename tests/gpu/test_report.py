"""What `make gpu` measured stands beside what was predicted, and the page says what its JSON says."""

from __future__ import annotations

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pamiq_storm.bench.offload import charges
from pamiq_storm.profile import load_profile
from pamiq_storm.results import ArmRow, HookRow, OffloadRow, PublishRow, Results, collect
from tests.programs import ROOT
from tools.gpu import compare, found, kernels, report
from tools.gpu.book import Book, Outcome, Status
from tools.gpu.page import page

GPU = "NVIDIA Test 80GB"
MACHINE = {
    "torch": "2.13.0", "cuda": "13.0", "gpu": GPU, "memory": 80 * 10**9, "capability": "9.0", "driver": "580.1",
    "python": "3.12.3", "processor": "a processor", "cores": 16, "dry": False,
}  # fmt: skip


def arm(name: str, step_ms: float, peak: int, none_ms: float = 100.0, **others: Any) -> ArmRow:
    ratio = None if none_ms == 0 else step_ms / none_ms
    row = ArmRow("W1", GPU, name, fits=True, step_ms=step_ms, ratio_to_none=ratio, peak_allocated_bytes=peak)
    return replace(row, **others)


MEASURED = [arm("none", 100, 10**10), arm("storm", 130, 6 * 10**9, bit_identical=True, pinned_bytes=4 * 10**9)]
PREDICTED = [arm("none", 80, 10**10), arm("storm", 100, 6 * 10**9, none_ms=80.0)]


def offload(rows: list[ArmRow], simulated: bool = False, **facts: Any) -> Results:
    return collect("offload", "sim" if simulated else "cuda", simulated, GPU, rows, facts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a whole run leaves."""
    there = tmp_path / "build"
    book = Book(there / "state.json", {"sources": "abc"})
    book.record("build", Outcome(Status.PASSED, "", 61.0))
    book.record("compute-sanitizer memcheck", Outcome(Status.FAILED, "no sanitizer | type this."))
    book.record("publish", Outcome(Status.OUT_OF_TIME, "it takes 100 s, and 3 s were left"))
    (there / "machine.json").write_text(json.dumps(MACHINE))
    (there / "suite.xml").write_text(
        '<testsuites><testsuite><testcase name="a"/><testcase name="b"><failure/></testcase>'
        '<testcase name="c"><skipped message="two of them"/></testcase></testsuite></testsuites>'
    )
    offload(MEASURED).write(there / "offload_W1.json")
    compiled = [arm("none", 101, 10**10), arm("compile@0.5", 104, 8 * 10**9)]
    broken = ArmRow("W1", GPU, "trl", note="failed: it | broke")
    offload([*compiled, broken]).write(there / "offload_W1_compiled.json")
    offload(PREDICTED, simulated=True).write(there / "predicted.json")
    hook = HookRow("storm_offloaded", "offloaded, cuda tensors", 9, 9, 8.0, 80.0, 100)
    collect("hooks", "cuda", False, GPU, [hook, replace(hook, hook="none")]).write(there / "hooks.json")
    sync = PublishRow("storm_swap", "cuda: sync", 10**6, 8, 1.0, 1.1, 1.2, None)
    copies = PublishRow("storm_swap", "cuda: copies at rest", 10**6, 8, None, None, None, 2.0)
    facts = {"cuda": {"sync_ratio_to_foreach_copy": {"1e+06/8": {"storm_swap": 1.25}}}}
    collect("publish", "cuda", False, GPU, [sync, copies], facts).write(there / "publish_cuda.json")
    demo = OffloadRow("byte-gpt", "none", GPU, None, 9.0, 8.0, 10.0, 7, 8, 0, 0, 0, None, 8.5, None, None)
    collect("demo", "cuda", False, GPU, [demo]).write(there / "demo" / "results.json")
    timed = {"kernel": "pack_bool", "bools": 1 << 30, "bytes": 9, "seconds": 5e-4, "expected_s": 4e-4, "within": True}
    (there / "kernels.json").write_text(json.dumps([timed]))
    load_profile("h100-pcie").write(there / "profile.toml")
    return there


def test_times_are_met_within_a_quarter_of_the_overhead_and_peaks_within_three_points() -> None:
    time, peak = compare.arms(MEASURED, PREDICTED)
    assert (time.figure, time.measured, time.predicted, time.within) == ("step, of none", 1.3, 1.25, True)
    assert (peak.figure, peak.measured, peak.predicted, peak.within) == ("peak, of none", 0.6, 0.6, True)
    slower = [PREDICTED[0], arm("storm", 92, 7 * 10**9, none_ms=80.0)]
    assert [one.within for one in compare.arms(MEASURED, slower)] == [False, False]


def test_what_was_not_predicted_is_shown_and_not_judged() -> None:
    assert [(one.predicted, one.within) for one in compare.arms(MEASURED, [])] == [(None, None)] * 2


def test_without_no_offload_there_is_no_ratio() -> None:
    """It did not fit: what it would have needed on this device is not known."""
    too_large = ArmRow("W1", GPU, "none", note="does not fit: ...", fits=False)
    assert compare.arms([too_large, arm("storm", 130, 6 * 10**9, none_ms=0)], PREDICTED) == []


def test_hooks_are_held_to_what_the_simulator_charges() -> None:
    row = HookRow("storm_offloaded", "offloaded, cuda tensors", 0, 0, 1.2 * 9.3, 1.3 * 8.5, 100)
    forward, backward = compare.hooks([row], 3e-5)
    assert forward.predicted == pytest.approx(1e6 * charges.STORM["storm::offload"])
    assert (forward.within, backward.within) == (True, False)
    assert compare.hooks([replace(row, hook="none"), replace(row, case="flat, 10 tensors")], 3e-5) == []


class FakeMeter:
    """A device on which everything takes as long as it is told."""

    device = torch.device("cpu")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def device_s(self, operation: Any) -> float:
        operation()
        return self._seconds


def test_a_kernel_is_held_to_the_time_of_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "LARGE", 100)
    seen: list[tuple[int, int]] = []
    pack = {"pack": (lambda bools, wire: seen.append((bools.numel(), wire.numel())), lambda n: 9 * n)}
    for seconds, verdict in ((1.2, True), (1.3, False)):
        meter: Any = FakeMeter(seconds)
        small, large = kernels.measure(meter, 900.0, pack, lambda n: n // 8, (80, 100))
        assert (small.within, large.within) == (None, verdict)
        assert (large.bytes, large.expected_s) == (900, 1.0)
    assert seen == [(80, 10), (100, 12)] * 2


def test_runs_of_the_benchmark_are_joined_and_no_offload_is_told_once() -> None:
    one = offload(MEASURED, failed=["W1, trl"], peers={"trl": "1"})
    two = offload([arm("none", 101, 10**10), arm("compile@1", 104, 9)], failed=["W1, compile@1"], peers={"x": "2"})
    joined = found.merged([one, two])
    assert joined is not None
    assert [row.arm for row in joined.rows if isinstance(row, ArmRow)] == ["none", "storm", "compile@1"]
    assert joined.facts == {"failed": ["W1, trl", "W1, compile@1"], "peers": {"trl": "1", "x": "2"}}
    assert found.merged([]) is None


def test_the_page_says_what_was_measured_and_labels_what_was_not(folder: Path, tmp_path: Path) -> None:
    report.write(folder, tmp_path / "results", tmp_path / "docs" / "page.md")
    text = (tmp_path / "docs" / "page.md").read_text()
    assert "| build | passed | 61 |" in text
    assert "| compute-sanitizer memcheck | **failed**: no sanitizer / type this. | 0 |" in text
    assert "| publish | **not run: out of time**: it takes 100 s, and 3 s were left | 0 |" in text
    assert "| on the GPU | 1 | 1 | 1 |" in text
    assert "* 1 skipped on the GPU: two of them" in text
    assert "| `storm` | 130.0 | 100.0 | 1.30 | 1.25 | met | 6.00 | 0.60 | 0.60 | met | 4.00 | same |" in text
    assert "* `trl`: failed: it / broke" in text
    assert "| offloaded, cuda tensors | `storm_offloaded` | backward | 80.00 | 8.50 | **missed** |" in text
    assert "| `pack_bool` | 1073741824 | 500.0 | 400.0 | met |" in text
    assert "| 1e+06/8 | `storm_swap` | 1.25 |" in text
    assert "### W1 on NVIDIA Test 80GB" in text
    assert [line for line in text.splitlines() if line.startswith("| ---")] == []
    widths = [len(set(map(lambda line: line.count("|"), block))) for block in _tables(text)]  # noqa: C417
    assert widths
    assert set(widths) == {1}, "a table whose lines have different numbers of cells"


def _tables(text: str) -> list[list[str]]:
    return [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]


def test_figures_are_drawn_and_the_page_leads_to_them(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report.write(folder, tmp_path / "results", tmp_path / "docs" / "page.md")
    links = re.findall(r"!\[\w+\]\(([^)]+)\)", (tmp_path / "docs" / "page.md").read_text())
    assert sorted(links) == [f"../results/{name}.png" for name in ("hooks", "offload", "publish")]
    assert all((tmp_path / "docs" / link).read_bytes().startswith(b"\x89PNG") for link in links)


def test_a_run_that_got_nowhere_is_reported_too(tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_text(json.dumps(MACHINE))
    Book(tmp_path / "state.json", {}).record("build", Outcome(Status.FAILED, "exit status 1", 3.0))
    report.write(tmp_path, tmp_path / "results", tmp_path / "page.md")
    assert "| build | **failed**: exit status 1 | 3 |" in (tmp_path / "page.md").read_text()


def test_nothing_of_an_earlier_run_is_left(folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    report.write(folder, results, tmp_path / "page.md")
    assert (results / "hooks.json").exists()
    (folder / "hooks.json").write_text("{broken")
    report.write(folder, results, tmp_path / "page.md")
    assert not (results / "hooks.json").exists()
    assert "Host time" not in (tmp_path / "page.md").read_text()


def test_a_dry_run_says_that_it_means_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "machine.json").write_text(json.dumps({**MACHINE, "dry": True}))
    report.write(folder, tmp_path / "results", tmp_path / "page.md")
    assert "No figure below means anything" in (tmp_path / "page.md").read_text()


def test_the_page_in_docs_is_that_of_the_kept_results() -> None:
    kept = ROOT / "benchmarks" / "results" / "gpu"
    text = (ROOT / "docs" / "gpu-results.md").read_text()
    assert text == page(kept, "../benchmarks/results/gpu")
    assert ("Not yet measured" in text) != (kept / "summary.json").exists()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    assert all((ROOT / "docs" / link).exists() for link in links)


def test_no_kept_result_is_of_a_dry_run() -> None:
    summary = ROOT / "benchmarks" / "results" / "gpu" / "summary.json"
    if summary.exists():
        assert not json.loads(summary.read_text())["machine"]["dry"]


def test_matplotlib_is_asked_for_in_one_place_only() -> None:
    """The runner starts on a bare machine: what it imports is in the standard library."""
    for name in ("__main__", "runner", "book", "steps", "machine", "sanitizer", "packages"):
        spec = importlib.util.find_spec(f"tools.gpu.{name}")
        assert spec is not None
        assert spec.origin is not None
        top = re.findall(r"^(?:import|from) (\w+)", Path(spec.origin).read_text(), re.MULTILINE)
        assert not {"torch", "pamiq_storm", "matplotlib", "numpy"} & set(top), name
