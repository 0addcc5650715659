"""The offload suite: what it computes, what it charges, and that its figures do not change from run to run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from pamiq_storm import sim
from pamiq_storm.bench import offload as suite
from pamiq_storm.bench.console import Console
from pamiq_storm.bench.hardware import Link, Traffic
from pamiq_storm.bench.offload import charges, claims, figures, page, peers, plan, schedule
from pamiq_storm.bench.offload.arms import KINDS
from pamiq_storm.bench.offload.occupancy import binned, memory_over_time
from pamiq_storm.bench.offload.plan import Selection
from pamiq_storm.bench.offload.real import CopyCounter
from pamiq_storm.bench.offload.rows import rows
from pamiq_storm.bench.offload.samples import AS_IS, Job, Sample, from_json, job_from_json, to_json
from pamiq_storm.bench.offload.steps import Step, hook_cost
from pamiq_storm.bench.offload.tables import console_table, markdown
from pamiq_storm.bench.offload.virtual import variants
from pamiq_storm.bench.offload.workloads import FULL, QUICK
from pamiq_storm.bench.timeline import MemoryLine
from pamiq_storm.results import ArmRow, HookRow, Results, collect

pytestmark = pytest.mark.timeout(400)  # a process for itself takes seconds to start, and longer on a machine in use

ROOT = Path(__file__).resolve().parents[2]
LINK = Link(10e9, 5e9)
STEP = Step(
    step_ms=100, forward_ms=30, backward_ms=60, optimizer_ms=5, traffic=Traffic(0, 0), peak_allocated_bytes=1000,
    peak_reserved_bytes=2000, peak_pinned_bytes=0, races=0,
)  # fmt: skip


def nothing() -> None:
    return None


def sample(arm: str, *steps: Step, **changes: Any) -> Sample:
    return replace(Sample("W1", "p", AS_IS, arm, steps, LINK, fits=True), **changes)


def times(*step_ms: float) -> list[Step]:
    return [replace(STEP, step_ms=ms) for ms in step_ms]


@pytest.mark.parametrize(
    ("traffic", "bound"),
    [
        (Traffic(0, 0), 30 + 60 + 5),
        (Traffic(200_000_000, 200_000_000), 30 + 60 + 5),  # 20 ms out, 40 ms back: hidden by compute
        (Traffic(500_000_000, 100_000_000), 50 + 60 + 5),
        (Traffic(500_000_000, 500_000_000), 50 + 100 + 5),
    ],
)
def test_the_bound_takes_the_longer_of_compute_and_link_in_each_half(traffic: Traffic, bound: float) -> None:
    assert replace(STEP, traffic=traffic).bound_ms(STEP, LINK) == pytest.approx(bound)


def test_a_row_compares_with_no_offload_of_the_same_workload_and_profile() -> None:
    moved = replace(STEP, step_ms=230, traffic=Traffic(500_000_000, 500_000_000))
    found = rows([sample("none", STEP), sample("storm", moved), sample("none", replace(STEP, step_ms=1), profile="q")])
    assert [row.ratio_to_none for row in found] == [1, pytest.approx(2.3), 1]
    assert found[1].lower_bound_ms == pytest.approx(155)
    assert found[1].ratio_to_bound == pytest.approx(230 / 155)


def test_rows_of_many_steps_are_medians_with_percentiles() -> None:
    (row,) = rows([sample("none", *times(*range(1, 12)))])
    assert (row.step_ms, row.step_ms_p10, row.step_ms_p90) == (6, 2, 10)


def test_the_worst_of_all_steps_counts_for_memory_and_races() -> None:
    steps = [replace(STEP, peak_allocated_bytes=n, races=n) for n in (1, 3, 2)]
    (row,) = rows([sample("none", *steps)])
    assert (row.peak_allocated_bytes, row.races) == (3, 3)


def test_an_arm_that_was_not_measured_has_a_note_and_no_figures() -> None:
    _, row = rows([sample("none", STEP), sample("trl", note="not measured: why", fits=None)])
    assert row == ArmRow("W1", "p", "trl", note="not measured: why")
    assert "not measured: why" in console_table([row], simulated=True)
    assert "| trl | - |" in markdown([row], simulated=True)


def test_bits_are_compared_by_digest() -> None:
    found = rows([sample("none", STEP, digest="a"), sample("trl", STEP, digest="a"), sample("storm", STEP, digest="b")])
    assert [row.bit_identical for row in found] == [None, True, False]


def test_samples_and_jobs_survive_json() -> None:
    job = Job("W1", ("rtx4090",), ("none",), "virtual", True, timelines=("rtx4090",))
    samples = [sample("none", STEP, timeline={"a": [1]}), sample("trl", link=None, note="n")]
    assert job_from_json(asdict(job)) == job
    assert from_json(to_json(samples)) == samples


def test_variants_are_all_pairs_of_rates_and_begin_with_the_profile() -> None:
    found = variants()
    assert next(iter(found.items())) == (AS_IS, (1.0, 1.0))
    assert len(found) == 9
    assert found["link -20%, matmul +20%"] == (0.8, 1.2)


class Span(SimpleNamespace):
    def __init__(self, lane: str, begin_ns: int, end_ns: int) -> None:
        super().__init__(lane=lane, begin_ns=begin_ns, end_ns=end_ns)


def test_occupancy_is_the_busy_share_of_each_slice() -> None:
    spans = [Span("compute", 0, 150), Span("compute", 100, 150), Span("d2h", 250, 300), Span("d2h", 350, 400)]
    found = binned(SimpleNamespace(spans=spans), 0, 400, slices=4)
    assert found["busy_percent"]["compute"] == [100, 50, 0, 0]
    assert found["busy_percent"]["d2h"] == [0, 0, 50, 50]
    assert found["busy_percent"]["h2d"] == [0, 0, 0, 0]


def test_memory_over_time_is_the_most_in_each_slice() -> None:
    line = MemoryLine("storm", 3.0, (0.0, 0.1, 1.1, 1.2, 4.0), (4, 5, 9, 2, 3))
    found = memory_over_time(line, slices=4)
    assert found == {"memory_ms": 4.0, "turn_ms": 3.0, "allocated_bytes": [5, 9, 2, 3]}


def two_variants() -> list[Sample]:
    """Ours is faster than trl only as is; faster than torchtune always."""
    step = {"none": 100, "checkpoint": 130, "torchtune": 300, "trl": 160, "storm": 150}
    as_is = [sample(arm, replace(STEP, step_ms=ms), workload="W2", profile="rtx4090") for arm, ms in step.items()]
    scaled = [
        replace(one, variant="link -20%", steps=(replace(STEP, step_ms=170),) if one.arm == "storm" else one.steps)
        for one in as_is
    ]
    return as_is + scaled


def test_a_statement_is_a_conclusion_only_if_it_holds_in_every_variant() -> None:
    facts = claims.sensitivity(two_variants())
    held = {verdict["text"]: (verdict["held"], verdict["of"]) for verdict in facts["verdicts"]}
    assert held["`storm` takes less time than `trl` everywhere."] == (1, 2)
    assert held["`storm` takes less time than `save_on_cpu` and `torchtune` everywhere."] == (2, 2)
    assert facts["storm_against"]["trl"] == {"faster": [], "slower": [], "depends": ["W2 on rtx4090"]}
    assert facts["storm_against"]["torchtune"]["faster"] == ["W2 on rtx4090"]
    assert facts["ratio_to_none"]["W2 on rtx4090"]["storm"] == [1.5, 1.7]


def test_nothing_is_concluded_about_what_was_not_measured() -> None:
    facts = claims.sensitivity([one for one in two_variants() if one.arm != "trl"])
    assert not any("`trl` everywhere" in verdict["text"] for verdict in facts["verdicts"])
    assert not any("GH200" in verdict["text"] for verdict in facts["verdicts"])


def test_a_race_is_seen_by_the_statements() -> None:
    (there,) = [claims.table_of(rows([sample("none", replace(STEP, races=2))]))]
    verdicts = claims.judge({"as is": there})
    assert [verdict.held for verdict in verdicts if "race" in verdict.text] == [0]


def test_every_python_hook_is_charged_and_others_are_not() -> None:
    charged: list[float] = []
    x = torch.ones(3, requires_grad=True)
    with charges.python_hooks_charged(charges.HookCost(2.0, 3.0), charged.append):
        with saved_tensors_hooks(lambda tensor: tensor.detach(), lambda tensor: tensor):
            y = x.sin().cos()
        z = x.exp()
    (y + z).sum().backward()
    assert charged == [2.0, 2.0, 3.0, 3.0]
    before = len(charged)
    with saved_tensors_hooks(lambda tensor: tensor.detach(), lambda tensor: tensor):
        x.sin().sum().backward()
    assert len(charged) == before, "outside, hooks are torch's own again"


def test_what_hooks_are_charged_was_measured() -> None:
    """The constants are those of the committed run of `bench hooks`, rounded up to a tenth."""
    found = Results.read(ROOT / "benchmarks" / "results" / "hooks.json").rows
    at_device = {row.hook: row for row in found if isinstance(row, HookRow) and row.case == "offloaded, sim tensors"}
    storm, bare = at_device["storm_offloaded"], at_device["python_detach"]
    measured = [storm.added_forward_us, storm.added_backward_us, bare.added_forward_us, bare.added_backward_us]
    constants = [*charges.STORM.values(), charges.BARE_PYTHON.pack_s, charges.BARE_PYTHON.unpack_s]
    for constant, value in zip(constants, measured, strict=True):
        assert 0 <= constant * 1e6 - value < 0.11


def test_peers_hooks_cost_what_the_profile_says_and_ours_are_no_python() -> None:
    cost = {name: hook_cost(kind.hooks, 30e-6) for name, kind in KINDS.items()}
    assert cost["trl"] == cost["torchtune"] == cost["save_on_cpu"] == charges.HookCost(30e-6, 30e-6)
    assert cost["none"] == cost["storm"] == charges.FREE
    assert 0 < cost["checkpoint"].pack_s < 30e-6


def test_only_the_device_is_another_in_the_peers_text() -> None:
    release = peers.RELEASES["torchtune"]
    text = 'x = torch.cuda.Stream()\ny = t.to("cuda", non_blocking=True)\n'
    assert peers.for_device(text, release, "cuda") == text
    assert peers.for_device(text, release, "sim") == 'x = torch.sim.Stream()\ny = t.to("sim", non_blocking=True)\n'
    with pytest.raises(RuntimeError, match="another release"):
        peers.for_device("something else", release, "sim")


def test_where_a_peer_is_missing_its_row_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(peers, "distribution", missing)
    with pytest.raises(peers.PeerMissing, match=r"not measured: trl .*pamiq-storm\[peers\]"):
        peers.load("trl", "sim")
    assert peers.version("torchtune").startswith("not measured")


def test_loading_a_peer_leaves_the_modules_of_others_alone() -> None:
    if importlib.util.find_spec("trl") is None:
        pytest.skip("the extra 'peers' is not installed")
    before = {name: sys.modules.get(name) for name in ("accelerate", "transformers", "torchao", "torchtune")}
    module = peers.load("trl", "sim")
    assert hasattr(module, "OffloadActivations")
    assert {name: sys.modules.get(name) for name in before} == before


def test_the_plan_has_every_workload_and_arm() -> None:
    jobs = plan.jobs("virtual", False, Selection())
    assert {job.workload for job in jobs} == set(FULL)
    assert all(job.arms == tuple(KINDS) for job in jobs)
    assert sum(len(job.profiles) for job in jobs) == 15


def test_rates_are_varied_only_where_asked_for() -> None:
    assert all(job.variants for job in plan.jobs("virtual", False, Selection()))
    assert not any(job.variants for job in plan.jobs("virtual", False, Selection(sensitivity=False)))


def test_a_selection_keeps_no_offload_to_compare_with() -> None:
    (job,) = plan.jobs("virtual", True, Selection("W1", "a100-pcie", ["trl"]))
    assert (job.workload, job.profiles, job.arms) == ("W1", ("a100-pcie",), ("none", "trl"))


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection(workload="W9"), "W9.*there are W1"),
        (Selection(arms=["nobody"]), "nobody.*there are none"),
        (Selection(profile="pdp11"), "pdp11.*rtx4090"),
    ],
)
def test_a_part_that_is_not_there_is_refused_by_name(selection: Selection, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        plan.jobs("virtual", False, selection)


Measured = Sequence[Sample]


@pytest.fixture(scope="module")
def quick() -> Measured:
    """All quick workloads, in one fresh process."""
    return schedule.side_by_side(plan.jobs("virtual", True, Selection()), nothing, processes=1)


def test_quick_runs_every_workload(quick: Measured) -> None:
    assert {one.workload for one in quick} == set(QUICK)
    assert all(one.steps or one.note for one in quick)


def test_gradients_and_loss_have_the_same_bits_in_every_arm(quick: Measured) -> None:
    found = [row for row in rows(quick) if row.arm != "none" and row.step_ms is not None]
    assert {row.arm for row in found} >= {"checkpoint", "save_on_cpu", "compile@0.5", "storm"}
    assert [f"{row.workload} {row.arm}" for row in found if not row.bit_identical] == []


def test_what_moves_moves_and_what_does_not_does_not(quick: Measured) -> None:
    for row in rows(quick):
        moves = row.arm in ("save_on_cpu", "torchtune", "trl", "storm")
        if row.step_ms is not None:
            assert (row.d2h_bytes or 0) > 0 or not moves, f"{row.workload} {row.arm}"
            assert moves or row.d2h_bytes == row.h2d_bytes == 0


def test_the_times_of_a_step_add_up(quick: Measured) -> None:
    for one in quick:
        for step in one.steps:
            inside = step.forward_ms + step.backward_ms + step.optimizer_ms
            assert 0 < inside <= step.step_ms * 1.001


def test_the_same_figures_in_another_process(quick: Measured) -> None:
    again = schedule.run([replace(job, arms=("none", "storm")) for job in plan.jobs("virtual", True, Selection("W1"))])
    assert again
    expected = [one for one in quick if one.workload == "W1" and one.arm in ("none", "storm")]
    assert again == expected


def test_an_arm_that_lacks_memory_is_measured_without_the_limit(tmp_path: Path) -> None:
    from pamiq_storm.profile import load_profile

    small = tmp_path / "small.toml"
    load_profile("rtx4090").replace(memory_bytes=1 << 20).write(small)
    job = Job("W1", (str(small),), ("none",), "virtual", quick=True)
    (found,) = schedule.run([job])
    assert found.fits is False
    assert found.steps
    assert found.note is not None
    assert found.note.startswith("does not fit: needs ")
    assert found.note.endswith(" of 1.00 MiB")


def test_on_a_device_of_its_own_clock_arms_take_turns_in_fresh_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def run(jobs: Sequence[Job]) -> list[Sample]:
        asked.extend(job.arms for job in jobs)
        return [sample(jobs[0].arms[0], *times(len(asked)), digest=jobs[0].arms[0])]

    monkeypatch.setattr(schedule, "run", run)
    found = schedule.in_turns([Job("W1", (), ("none", "storm"), "cuda", quick=True)], 3, nothing)
    assert asked == [("none",), ("storm",)] * 3
    assert [[step.step_ms for step in one.steps] for one in found] == [[1, 3, 5], [2, 4, 6]]


def test_bits_that_differ_from_process_to_process_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = iter("ab")
    monkeypatch.setattr(schedule, "run", lambda _: [sample("none", STEP, digest=next(digests))])
    (found,) = schedule.in_turns([Job("W1", (), ("none",), "cuda", quick=True)], 2, nothing)
    assert found.note == "the bits differ from process to process"


def test_a_device_of_its_own_clock_is_measured_by_the_hosts() -> None:
    """The simulator's threads, as a GPU would."""
    found = schedule.run([Job("W3", (), ("none", "storm"), "threads", quick=True)])
    none, storm = rows(found)
    assert [len(one.steps) for one in found] == [2, 2]
    assert storm.bit_identical
    assert storm.races is None
    assert none.d2h_bytes == 0 < (storm.d2h_bytes or 0)


def test_copies_are_counted_in_forward_and_backward_where_the_device_does_not(device: str) -> None:
    if device != "sim":
        pytest.skip("compares with the simulator's own count")
    x = torch.ones(1000, device=device, requires_grad=True)
    sim.reset_stats()
    with CopyCounter() as counter, torch.autograd.graph.save_on_cpu(pin_memory=True, device_type=device):
        x.sin().cos().sum().backward()
    torch.accelerator.synchronize()  # a copy counts when the device makes it
    moved = sim.stats()
    assert (counter.d2h, counter.h2d) == (moved.d2h_bytes, moved.h2d_bytes) == (8000, 8000)


def test_a_process_that_fails_is_an_error_with_its_last_words() -> None:
    with pytest.raises(RuntimeError, match=r"measuring nothing failed.*KeyError"):
        schedule.run([Job("nothing", (), ("none",), "threads", quick=True)])


@pytest.fixture
def results(quick: Measured) -> Results:
    jobs = plan.jobs("virtual", True, Selection())
    made = suite._results("virtual", jobs, quick, quick=True)
    line = memory_over_time(MemoryLine("storm", 1.0, (0.0, 2.0), (1, 2)))
    recorded = {"W1 on rtx4090": {"storm": binned(SimpleNamespace(spans=[Span("d2h", 1, 5)]), 0, 10) | line}}
    return replace(
        made,
        facts={
            **made.facts,
            "timelines": recorded,
            "ladder": {"W1 on p": {"none": [1.0] * 5}},
            "memory_then": {"W1": {"none": [1.0, None]}},
        },
    )


def test_figures_are_drawn_from_the_file(results: Results, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results.write(tmp_path / "r.json")
    for draw in figures.FIGURES.values():
        assert draw(Results.read(tmp_path / "r.json")).startswith(b"\x89PNG")


def test_the_table_has_a_line_for_each_arm(results: Results) -> None:
    text = markdown([row for row in results.rows if isinstance(row, ArmRow)], simulated=True)
    assert text.count("simulated") == len(QUICK)
    assert text.count("| storm | ") == len(QUICK)


def test_a_page_is_filled_and_one_that_lacks_a_place_is_refused(results: Results) -> None:
    parts = page.parts(results)
    text = "\n".join(f"<!-- begin {name} -->\nold\n<!-- end {name} -->" for name in parts)
    filled = page.fill(text, parts)
    assert "old" not in filled
    assert page.fill(filled, parts) == filled
    with pytest.raises(page.PageError, match="ladder"):
        page.fill(text.replace("ladder", "steps"), parts)


def test_the_command_takes_parts_and_refuses_what_is_not_there() -> None:
    command = [sys.executable, "-m", "pamiq_storm", "bench", "offload", "--quick", "--device", "sim"]
    done = subprocess.run([*command, "--workload", "W9"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert done.stderr.startswith("error: workload 'W9' is unknown")
    other = subprocess.run([*command[:4], "hooks", "--arms", "trl"], capture_output=True, text=True, timeout=100)
    assert other.returncode == 1
    assert "--arms" in other.stderr


def test_a_run_says_what_it_found(monkeypatch: pytest.MonkeyPatch, quick: Measured) -> None:
    monkeypatch.setattr(suite, "measure", lambda *_: list(quick))
    said = io.StringIO()
    made = suite.run("sim", True, Console(said))
    assert made.simulated
    assert "W1 on rtx4090 (simulated)" in said.getvalue()
    assert " of 2: " in said.getvalue()
    collect("offload", "sim", True, "p", made.rows, made.facts).to_json()
