"""The arithmetic of the publish suite, and that it measures what it says."""

from __future__ import annotations

import io
import sys
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from pamiq_storm.bench import publish
from pamiq_storm.bench.console import Console
from pamiq_storm.bench.publish import compiling, kernels, memory, pace, sizes, waiting
from pamiq_storm.bench.publish.arms import ForeachCopy, LiveModel, LoadStateDict, live_arms
from pamiq_storm.bench.publish.networks import Size, Tower, count
from pamiq_storm.bench.publish.rounds import rotated, row
from pamiq_storm.bench.publish.setting import QUICK, Setting
from pamiq_storm.bench.publish.targets import targets
from pamiq_storm.results import PublishRow

CPU = torch.device("cpu")


class Locked:
    """A live model whose inference and sync exclude each other, and that keeps no old version."""

    def __init__(self, model: nn.Module, inference_procedure: Any, compile: bool = False) -> None:  # noqa: A002
        self.model = model
        self.lock = threading.RLock()
        self.procedure = inference_procedure
        self.inference_model = self
        self.copies = [torch.empty(0)]

    def sync(self) -> None:
        with self.lock:
            self.copies = [p.detach().clone() for p in self.model.parameters()]

    def infer(self, *args: Any) -> Any:
        with self.lock:
            return self.procedure(self.model, *args)

    @contextmanager
    def unwrap(self) -> Iterator[nn.Module]:
        with self.lock:
            yield self.model

    def __call__(self, *args: Any) -> Any:
        return self.model(*args)


class Compiling(Locked):
    """Its inference is compiled anew after each sync."""

    def __init__(self, model: nn.Module, inference_procedure: Any, compile: bool = False) -> None:  # noqa: A002
        super().__init__(model, inference_procedure)
        self.sync()

    def sync(self) -> None:
        super().sync()
        torch._dynamo.reset()
        self.model.compile()


def setting(**arms: Any) -> Setting:
    def maker(kind: Any) -> Any:
        return lambda model, procedure, compiled=False: kind(model, inference_procedure=procedure, compile=compiled)

    return Setting(CPU, False, {name: maker(kind) for name, kind in arms.items()}, QUICK)


def nothing() -> None:
    return None


@pytest.mark.parametrize("size", [Size(1e5, 8), Size(1e5, 320), Size(1e6, 480), Size(1e6, 4_808)])
def test_a_network_has_the_size_asked_for(size: Size) -> None:
    parameters, tensors = count(Tower(size))
    assert tensors == size.tensors
    assert parameters == pytest.approx(size.parameters, rel=0.1)


def test_a_network_neither_overflows_nor_dies_out() -> None:
    torch.manual_seed(0)
    tower = Tower(Size(1e4, 320))
    y = tower(torch.ones(1, tower.width))
    assert y.isfinite().all()
    assert y.abs().mean() > 1e-3


@pytest.mark.parametrize("kind", [LoadStateDict, ForeachCopy])
def test_the_arms_that_copy_do_copy(kind: Any) -> None:
    model = nn.Linear(3, 3)
    arm = kind(model)
    with torch.no_grad():
        model.weight.fill_(7)
    arm.sync()
    served = arm._served.weight if kind is LoadStateDict else arm._targets[0]
    assert torch.equal(served, model.weight)
    assert served.data_ptr() != model.weight.data_ptr()


@pytest.mark.parametrize("name", ["storm_swap", "storm_copy"])
def test_the_live_arms_serve_what_was_trained_after_a_sync(name: str) -> None:
    live: LiveModel = live_arms()[0][name](nn.Linear(3, 3), lambda module, x: module(x))
    x = torch.ones(1, 3)
    with torch.no_grad():
        live.model.weight.fill_(7)  # pyright: ignore
    expected = live(x).detach()
    live.sync()
    assert torch.equal(live.inference_model.infer(x), expected)


def test_pamiq_core_is_an_arm_where_it_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("pamiq_core.torch")
    module.TorchTrainingModel = Locked  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "pamiq_core", types.ModuleType("pamiq_core"))
    monkeypatch.setitem(sys.modules, "pamiq_core.torch", module)
    arms, said = live_arms()
    assert list(arms) == ["storm_swap", "storm_copy", "pamiq_core"]
    assert isinstance(arms["pamiq_core"](nn.Linear(1, 1), lambda module, x: x), Locked)
    assert "not measured" not in said


def test_where_pamiq_core_is_missing_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pamiq_core.torch", None)
    arms, said = live_arms()
    assert "pamiq_core" not in arms
    assert said.startswith("not measured")
    assert "3.12" in said


def test_everybody_begins_once() -> None:
    assert [rotated("abc", n)[0] for n in range(4)] == ["a", "b", "c", "a"]
    assert sorted(rotated("abc", 2)) == ["a", "b", "c"]


def test_ratios_compare_within_a_round() -> None:
    """The machine was ten times slower in the second round: no ratio tells."""
    found = sizes.ratios_to_yardstick({"storm_swap": [2.0, 20.0], "foreach_copy": [1.0, 10.0]})
    assert found == {"storm_swap": 2.0}


def test_growth_is_that_of_the_two_largest() -> None:
    def rows(impl: str, times: dict[int, float]) -> list[Any]:
        return [row(impl, "cpu: sync", Tower(Size(1e5, tensors)), [ms]) for tensors, ms in times.items()]

    found = sizes.growth(rows("linear", {8: 1.0, 80: 2.0, 800: 20.0}) + rows("square", {8: 1, 80: 2, 800: 200}))
    assert found["linear"]["exponent"] == pytest.approx(1)
    assert found["square"]["exponent"] == pytest.approx(2)
    assert found["linear"]["us_per_tensor"] == pytest.approx(19_000 / 792)
    assert sizes.growth([]) == {}


def test_an_arm_that_would_take_too_long_is_left_out_and_named() -> None:
    square, linear = [(8, 0.01), (80, 1.0)], [(8, 0.1), (80, 1.0)]
    past = {("square", 1e4): square, ("linear", 1e4): linear, ("foreach_copy", 1e4): square}
    left_out: list[str] = []
    names = sizes._affordable(setting(square=Locked, linear=Locked), Size(1e4, 320), past, left_out)
    assert names == ["linear", "load_state_dict", "foreach_copy"]  # without the yardstick there is no ratio
    assert left_out == ["1e+04 parameters in 320 tensors: square, which would take 16 s for one sync"]


def test_a_size_that_does_not_fit_into_memory_is_left_out_and_named() -> None:
    left_out: list[str] = []
    assert sizes._affordable(setting(), Size(1e13, 8), {}, left_out) == []
    assert len(left_out) == 1
    assert "bytes of memory" in left_out[0]


def test_a_sync_that_waits_for_an_inference_is_seen() -> None:
    """And so is an inference that waits for another."""
    long = replace(setting(locked=Locked), plan=replace(QUICK, inference_s=0.4))
    facts = waiting.measure(long, nothing).facts
    assert facts["longest_sync_behind_inference_ms"]["locked"] > 200
    assert facts["inferences_together_ms"]["locked"] >= 1600


def test_an_inference_that_waits_for_a_sync_is_seen() -> None:
    class Slow(Locked):
        def sync(self) -> None:
            with self.lock:
                time.sleep(0.2)

    slow = setting(storm_swap=Slow)
    facts = pace.measure(slow, nothing).facts["inference_at_100_hz"]["storm_swap"]
    assert facts["samples"] == QUICK.pairs * QUICK.samples
    assert facts["syncs"] >= QUICK.pairs
    assert facts["median"] > 1.15


def test_an_error_of_training_is_raised() -> None:
    class Broken(Locked):
        def sync(self) -> None:
            raise ZeroDivisionError("in training")

    live = Broken(Tower(Size(1e3, 4)), lambda module, x: module(x))
    trainer = pace.Trainer(live, torch.ones(2, live.model.width))  # pyright: ignore
    trainer.ask_for_sync()
    with pytest.raises(ZeroDivisionError, match="in training"), trainer.running():
        pass


def test_copies_are_counted_in_memory() -> None:
    found = memory.measure(setting(locked=Locked), nothing).facts["copies"]
    assert found["locked"][memory.AT_REST] == pytest.approx(2, abs=0.2)
    assert found["locked"][memory.HELD] == pytest.approx(3, abs=0.2)  # the old copy goes when the new one is there
    assert found["foreach_copy"][memory.AT_REST] == pytest.approx(2, abs=0.2)


def test_compiling_again_is_seen() -> None:
    found = compiling.measure(setting(again=Compiling), nothing).facts
    assert found["recompilations"]["again"] >= QUICK.compiled_syncs


class OwnStream(Locked):
    """Inference does not queue behind training."""

    def infer(self, *args: Any) -> Any:
        stream = torch.Stream(args[0].device)
        with stream:
            y = super().infer(*args)
        torch.accelerator.current_stream().wait_stream(stream)
        return y


def test_kernels_that_an_inference_waits_for_are_counted(device: str) -> None:
    arms = setting(storm_swap=OwnStream, locked=Locked)
    there = replace(arms, device=torch.device(device), simulated=device == "sim")
    found = kernels.measure(there, nothing)
    waited = found.facts["kernels_of_training_waited_for"]
    assert waited["queued"] == QUICK.kernels
    assert waited["storm_swap"]["behind_training"] <= 1
    assert waited["locked"]["read_on_trainings_stream"] == QUICK.kernels
    assert {row.case.split(":")[0] for row in found.rows} == {there.label}


@pytest.mark.skipif(torch.cuda.is_available(), reason="then a device is measured too")
def test_by_default_the_cpu_alone_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "ON_CPU", [sizes])
    said = io.StringIO()
    (results,) = publish.run_parts("auto", QUICK, Console(said))
    assert (results.device, results.simulated, results.profile) == ("cpu", False, "CPU")
    assert "simulated" not in said.getvalue()
    assert all(row.case == "cpu: sync" for row in results.rows if isinstance(row, PublishRow))
    assert {len(ratios) for ratios in results.facts["cpu"]["sync_ratio_to_foreach_copy"].values()} == {3}


def test_targets_are_judged_by_what_was_found() -> None:
    facts = {
        "sync_ratio_to_foreach_copy": {"1e+07/4808": {"storm_swap": 1.1}, "1e+08/8": {"storm_swap": 1.3}},
        "growth_with_tensors": {"storm_swap": {"exponent": 1.0, "us_per_tensor": 1.0, "tensors": 48_000}},
        "longest_sync_behind_inference_ms": {"storm_swap": 6.0, "pamiq_core": 450.0},
        "inference_at_100_hz": {"storm_swap": {"median": 1.0}},
        "recompilations": {"storm_swap": 0, "pamiq_core": 3},
        "copies": {"storm_swap": {memory.AT_REST: 2.0}},
        "kernels_of_training_waited_for": {"queued": 4, "storm_swap": {"behind_training": 4}},
    }
    held = {check.name: check.held for check in targets(facts)}
    missed = [name for name, held_ in held.items() if not held_]
    assert len(held) == 8
    assert len(missed) == 3
    assert any("1e+08/8" in name for name in missed)
    assert any("long inference" in name for name in missed)
    assert any("behind training" in name for name in missed)


def test_figures_that_were_not_taken_are_no_targets() -> None:
    assert targets({}) == []
