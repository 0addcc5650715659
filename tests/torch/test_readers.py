"""Readers wait for no publication and publications for no reader; what a reader holds stays as it is."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pamiq_storm.torch import PublishMode, TorchTrainingModel

from .live_models import Net, Same, X, expected, step

WAIT = 30  # seconds after which a test has found a deadlock


def run(*targets: Callable[[], object]) -> None:
    """Each in a thread; what one raises is raised here."""
    errors: list[BaseException] = []

    def guarded(target: Callable[[], object]) -> None:
        try:
            target()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(target,), daemon=True) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def test_a_sync_during_a_long_inference_returns_and_is_served_to_others(publish: PublishMode) -> None:
    entered, leave = threading.Event(), threading.Event()

    def procedure(module: Same, wait: bool) -> tuple[float, float]:
        before = module()
        if wait:
            entered.set()
            assert leave.wait(WAIT)
            assert module() == before
        return module()

    model = TorchTrainingModel(Same(), publish=publish, inference_procedure=procedure)

    def reader() -> None:
        assert model.inference_model.infer(True) == (0, 0)

    def trainer() -> None:
        assert entered.wait(WAIT)
        for version in range(1, 6):  # all inside one inference
            model.model.set(version)
            model.sync()
            assert model.inference_model.version == version
            assert model.inference_model.infer(False) == (version, version)
        assert not leave.is_set()
        leave.set()

    run(reader, trainer)


def test_inferences_of_four_threads_overlap(publish: PublishMode) -> None:
    together = threading.Barrier(4)

    def procedure(module: nn.Module, x: Tensor) -> Tensor:
        together.wait(WAIT)  # breaks unless all four are inside
        return module(x)

    model = TorchTrainingModel(Net(), publish=publish, inference_procedure=procedure)
    want = expected(model)
    inference = model.inference_model

    def reader() -> None:
        for _ in range(5):
            assert torch.equal(inference.infer(X), want)

    run(*[reader] * 4)


def test_versions_grow_for_each_reader_and_are_never_mixed(publish: PublishMode) -> None:
    model = TorchTrainingModel(Same(), publish=publish)
    inference = model.inference_model
    stop, seen = threading.Event(), [0, 0, 0]

    def reader(index: int) -> None:
        last, count = 0.0, 0
        while not stop.is_set() or count < 300:
            low, high = inference.infer()
            assert low == high >= last
            last = low
            count += 1
        seen[index] = count

    def trainer() -> None:
        try:
            for version in range(1, 1501):
                model.model.set(version)
                model.sync()
        finally:
            stop.set()

    run(trainer, *[lambda i=i: reader(i) for i in range(3)])
    assert inference.infer() == (1500, 1500)
    assert min(seen) >= 300
    model._publication.check_invariants()


def test_unwrap_pins_on_entry_not_when_it_is_called(publish: PublishMode) -> None:
    model = TorchTrainingModel(Same(), publish=publish)
    late = model.inference_model.unwrap()
    model.model.set(1)
    model.sync()
    with late as served:
        assert served() == (1, 1)
        model.model.set(2)
        model.sync()
        assert served() == (1, 1)
        assert served is not model.model


def test_a_sync_inside_ones_own_unwrap_changes_nothing_that_is_held(publish: PublishMode) -> None:
    model = TorchTrainingModel(Same(), publish=publish)
    inference = model.inference_model
    with inference.unwrap() as outer:
        for version in range(1, 5):
            with torch.inference_mode(False):
                model.model.set(version)
            model.sync()
            assert outer() == (0, 0)
            with inference.unwrap() as inner:
                assert inner() == (version, version)
                model.sync()
                assert inner() == (version, version)
            assert torch.is_inference_mode_enabled()
    assert not torch.is_inference_mode_enabled()
    assert not any(tensor.is_inference() for tensor in model.model.parameters())


def test_unwrap_switches_gradients(publish: PublishMode) -> None:
    model = TorchTrainingModel(nn.Linear(4, 4), publish=publish)
    with model.inference_model.unwrap() as served:
        assert torch.is_inference_mode_enabled()
        assert not served(X).requires_grad
    with torch.inference_mode(), model.inference_model.unwrap(inference_mode=False) as served:
        assert served(X).requires_grad
    assert not model.inference_model.infer(X).requires_grad


def test_a_reader_that_raises_lets_go(publish: PublishMode) -> None:
    def procedure(module: nn.Module, x: Tensor) -> Tensor:
        raise LookupError

    model = TorchTrainingModel(Net(), publish=publish, inference_procedure=procedure)
    rest = model.publish_stats().snapshot_bytes
    for _ in range(4):
        with pytest.raises(LookupError):
            model.inference_model.infer(X)
        with pytest.raises(ZeroDivisionError), model.inference_model.unwrap():
            model.sync()
            raise ZeroDivisionError
        assert not torch.is_inference_mode_enabled()
        model.sync()
    stats = model.publish_stats()
    assert stats.transient_bytes == 0
    if publish == "swap":
        assert stats.snapshot_bytes == rest


def test_a_generator_may_read_and_be_dropped_in_the_middle(publish: PublishMode) -> None:
    model = TorchTrainingModel(Same(), publish=publish)

    def numbers() -> Iterator[tuple[float, float]]:
        with model.inference_model.unwrap(inference_mode=False) as served:
            while True:
                yield served()

    generator = numbers()
    for version in range(1, 4):
        assert next(generator) == (0, 0)
        model.model.set(version)
        model.sync()
    assert model.publish_stats().transient_bytes > 0
    del generator
    gc.collect()
    assert model.publish_stats().transient_bytes == 0
    assert next(numbers()) == (3, 3)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_while_it_reads_lets_go(publish: PublishMode) -> None:
    model = TorchTrainingModel(Same(), publish=publish)
    entered, leave = threading.Event(), threading.Event()

    def reader() -> None:
        with model.inference_model.unwrap():
            entered.set()
            assert leave.wait(WAIT)
            raise SystemExit

    thread = threading.Thread(target=reader, daemon=True)
    thread.start()
    assert entered.wait(WAIT)
    model.sync()
    assert model.publish_stats().transient_bytes > 0
    leave.set()
    thread.join(WAIT)
    assert model.publish_stats().transient_bytes == 0
    model.sync()
    assert model.inference_model.infer() == (0, 0)


KEEPERS: dict[str, Callable[[nn.Linear], Any]] = {
    "parameter": lambda m: m.weight,
    "view": lambda m: m.weight[1:3].t(),
    "data alias": lambda m: m.weight.data,
    "array": lambda m: m.weight.detach().numpy(),
    "storage": lambda m: m.weight.untyped_storage(),
    "dlpack": lambda m: torch.from_dlpack(m.weight.detach()),
    "state dict": lambda m: m.state_dict(),
    "list": lambda m: list(m.parameters()),
    "parameter taken out": lambda m: m._parameters.pop("weight"),
    "parameter replaced": lambda m: (m.weight, setattr(m, "weight", nn.Parameter(torch.zeros(4, 4)))),
    "bound in a function": lambda m: lambda weight=m.weight: weight,
}


def value_of(kept: Any) -> list[Tensor]:
    if callable(kept):
        kept = kept()
    if isinstance(kept, dict):
        kept = list(kept.values())
    if isinstance(kept, (list, tuple)):
        return [tensor for item in kept if item is not None for tensor in value_of(item)]
    if isinstance(kept, torch.UntypedStorage):
        return [torch.tensor(kept.tolist())]
    return [torch.from_numpy(kept.copy()) if isinstance(kept, np.ndarray) else kept.detach().clone()]


@pytest.mark.parametrize("keeper", KEEPERS)
def test_what_is_kept_of_a_version_keeps_its_values(publish: PublishMode, keeper: str) -> None:
    model = TorchTrainingModel(nn.Linear(4, 4), publish=publish)
    kept = []
    for round_ in range(8):
        if round_ in (0, 3, 4):
            with model.inference_model.unwrap(inference_mode=round_ == 3) as served:
                held = KEEPERS[keeper](served)
            kept.append((held, value_of(held)))
        step(model)
        model.sync()
        for held, values in kept:
            assert all(torch.equal(a, b) for a, b in zip(value_of(held), values, strict=True))
    assert torch.equal(model.inference_model.infer(X), expected(model))


def test_outputs_that_are_views_of_parameters_keep_their_values(publish: PublishMode) -> None:
    model = TorchTrainingModel(
        nn.Linear(4, 4), publish=publish, inference_procedure=lambda module: module.weight.t()[1:]
    )
    outputs = []
    for _ in range(6):
        output = model.inference_model.infer()
        outputs.append((output, output.clone()))
        step(model)
        model.sync()
        assert all(torch.equal(a, b) for a, b in outputs)


def test_a_graph_on_an_old_version_gives_the_gradients_of_that_version(publish: PublishMode) -> None:
    model = TorchTrainingModel(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)), publish=publish)
    x = X.clone().requires_grad_()
    graphs = []
    for _ in range(3):
        with model.inference_model.unwrap(inference_mode=False) as served:
            graphs.append(served(x).sum())
        graphs.append(torch.autograd.grad(model.model(x).sum(), x)[0])
        for _ in range(3):
            step(model)
            model.sync()
    for loss, want in zip(graphs[::2], graphs[1::2], strict=True):
        assert torch.equal(torch.autograd.grad(loss, x)[0], want)


def test_a_gradient_kept_from_an_old_version_keeps_its_values(publish: PublishMode) -> None:
    model = TorchTrainingModel(nn.Linear(4, 4), publish=publish)
    with model.inference_model.unwrap(inference_mode=False) as served:
        served(X).sum().backward()
        gradient = served.weight.grad
    assert gradient is not None
    want = gradient.clone()
    model.sync()
    for _ in range(5):
        with model.inference_model.unwrap(inference_mode=False) as served:
            served(X * 2).sum().backward()
        step(model)
        model.sync()
    assert torch.equal(gradient, want)


@pytest.mark.parametrize("keeps", ["a view", "nothing"])
def test_a_thousand_syncs_leak_nothing(publish: PublishMode, keeps: str) -> None:
    model = TorchTrainingModel(Same(2, 4), publish=publish)
    inference = model.inference_model
    seen: list[weakref.ref[nn.Module]] = []
    for version in range(1, 1001):
        model.model.set(version)
        view = None
        try:
            with inference.unwrap() as served:
                if keeps == "a view" and version % 3 == 0:
                    view = served.numbers[0][1:]
                if all(reference() is not served for reference in seen):
                    seen.append(weakref.ref(served))
                model.sync()
                raise LookupError
        except LookupError:
            pass
        if view is not None:
            assert view[0].item() == version - 1
        del view
    del served
    gc.collect()
    alive = [reference for reference in seen if reference() is not None]
    assert len(alive) <= 3
    if keeps == "nothing":
        assert len(seen) <= 3, "nothing was copied anew"
    assert len(model._publication._known) <= 3
    assert len(model._publication._shells) == 1
    assert model.publish_stats().transient_bytes == 0
    assert inference.infer() == (1000, 1000)


def test_a_model_that_is_dropped_leaves_nothing(publish: PublishMode) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    model.inference_model.infer(X)
    model.sync()
    inference = model.inference_model
    with inference.unwrap() as served:
        kept = served.head.weight
    value = kept.clone()
    watched = [weakref.ref(thing) for thing in (model, model.model, served, model._publication)]
    del model, served
    gc.collect()
    inference.infer(X)
    del inference
    gc.collect()
    assert [reference() for reference in watched] == [None] * 4
    assert torch.equal(kept, value)
