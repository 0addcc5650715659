"""Everybody at once, with threads that change places as often as Python can make them."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from pamiq_storm.torch import PublishMode, TorchTrainingModel

from .live_models import X

SYNCS = 80


@pytest.fixture(autouse=True)
def _eager_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class Race:
    """A model in training; knows which output each version must give.

    Args:
        publish: The mode.
        restructure: Whether the trainer now and then changes the structure.
    """

    def __init__(self, publish: PublishMode, restructure: bool = False) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 4))
        self.model = TorchTrainingModel(net, publish=publish)
        self.inference = self.model.inference_model
        self.restructure = restructure
        self.version_of: dict[bytes, int] = {}
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.views: list[tuple[Tensor, Tensor]] = []
        self.note(0)

    def note(self, version: int) -> None:
        """What the training side computes in eval mode is what that version gives."""
        net = self.model.model.eval()
        with torch.no_grad():
            self.version_of[net(X).numpy().tobytes()] = version
        net.train()

    def check(self, output: Tensor, at_least: int) -> int:
        version = self.version_of[output.detach().numpy().tobytes()]  # KeyError: a mix of versions
        assert version >= at_least
        return version

    def train(self) -> None:
        net = self.model.model
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for version in range(1, SYNCS + 1):
            optimizer.zero_grad()
            self.model(X).square().sum().backward()
            optimizer.step()
            if self.restructure and version % 8 == 0:
                net[4] = nn.Linear(8, 4)
                optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
            self.note(version)
            self.model.sync()

    def infer(self) -> None:
        last = 0
        while not self.stop.is_set():
            last = self.check(self.inference.infer(X), last)

    def unwrap(self) -> None:
        last = 0
        while not self.stop.is_set():
            with self.inference.unwrap(inference_mode=False) as served:
                output = served(X)
                last = self.check(output, last)
                assert not served.training
                assert self.check(served(X), last) == last, "a version does not change while it is held"
            (gradient,) = torch.autograd.grad(output.sum(), served[0].weight)  # after it was let go
            assert gradient.isfinite().all()

    def keep(self) -> None:
        chance = random.Random(0)
        while not self.stop.is_set():
            with self.inference.unwrap() as served:
                view = served[0].weight[chance.randrange(8)]
                self.views.append((view, view.clone()))
            if len(self.views) > 8:
                kept, value = self.views.pop(chance.randrange(8))
                assert torch.equal(kept, value)

    def fail(self) -> None:
        while not self.stop.is_set():
            with pytest.raises(LookupError), self.inference.unwrap():
                raise LookupError

    def look(self) -> None:
        last = 0
        while not self.stop.is_set():
            stats = self.model.publish_stats()
            assert stats.version >= last
            assert min(stats.snapshot_bytes, stats.transient_bytes, stats.peak_transient_bytes) >= 0
            last = self.inference.version
            self.model._publication.check_invariants()

    def run(self, *others: Callable[[], None]) -> None:
        """All of them until the trainer is done."""

        def guarded(target: Callable[[], None]) -> None:
            try:
                target()
            except BaseException as error:
                self.errors.append(error)
                self.stop.set()

        threads = [threading.Thread(target=guarded, args=(target,), daemon=True) for target in others]
        for thread in threads:
            thread.start()
        try:
            self.train()
        finally:
            self.stop.set()
            for thread in threads:
                thread.join(60)
        if self.errors:
            raise self.errors[0]
        assert not any(thread.is_alive() for thread in threads)

    def check_end(self) -> None:
        """The newest version is served, kept views are whole, nothing is left over."""
        assert all(torch.equal(view, value) for view, value in self.views)
        self.views.clear()
        for _ in range(3):
            self.model.sync()
        assert self.check(self.inference.infer(X), SYNCS) == SYNCS
        assert self.inference.version == SYNCS + 3
        publication = self.model._publication
        publication.check_invariants()
        assert self.model.publish_stats().transient_bytes == 0
        assert len(publication._shells) == 1
        assert all(shell.body is publication._body for shell in (*publication._idle, *publication._known))


def test_each_output_is_of_exactly_one_version(publish: PublishMode) -> None:
    race = Race(publish)
    race.run(race.infer, race.infer, race.unwrap, race.look)
    race.check_end()


def test_views_kept_from_any_version_stay_whole(publish: PublishMode) -> None:
    race = Race(publish)
    race.run(race.keep, race.keep, race.infer, race.fail)
    race.check_end()


def test_the_structure_changes_under_readers(publish: PublishMode) -> None:
    race = Race(publish, restructure=True)
    race.run(race.infer, race.unwrap, race.keep, race.look)
    race.check_end()


def test_several_threads_publish_two_models_with_a_submodule_in_common(publish: PublishMode) -> None:
    """Training takes turns, as it must; readers of both models do not."""
    shared = nn.Linear(4, 4)
    models = [TorchTrainingModel(nn.Sequential(shared, nn.Linear(4, 4)), publish=publish) for _ in range(2)]
    known: list[set[bytes]] = [{model.inference_model.infer(X).numpy().tobytes()} for model in models]
    turn, stop = threading.Lock(), threading.Event()
    errors: list[BaseException] = []

    def train(index: int) -> None:
        model = models[index]
        for _ in range(50):
            with turn:
                with torch.no_grad():
                    for parameter in model.model.parameters():
                        parameter.add_(0.01)
                    known[index].add(model.model(X).numpy().tobytes())
                model.sync()

    def read(index: int) -> None:
        while not stop.is_set():
            assert models[index].inference_model.infer(X).numpy().tobytes() in known[index]

    def guarded(target: Callable[[int], None], index: int) -> None:
        try:
            target(index)
        except BaseException as error:
            errors.append(error)

    threads = {
        kind: [threading.Thread(target=guarded, args=(kind, index), daemon=True) for index in range(2)]
        for kind in (train, read)
    }
    for thread in (*threads[train], *threads[read]):
        thread.start()
    for thread in threads[train]:
        thread.join(60)
    stop.set()
    for thread in threads[read]:
        thread.join(60)
    assert not errors, errors
    assert models[0].model[0] is models[1].model[0]


def test_many_threads_ask_for_the_inference_model_at_once(publish: PublishMode) -> None:
    together, found = threading.Barrier(4), []

    def ask(model: TorchTrainingModel) -> None:
        together.wait(30)
        inference = model.inference_model
        inference.infer(X)
        found.append(inference)

    for _ in range(10):
        found.clear()
        model = TorchTrainingModel(nn.Linear(4, 4), publish=publish)
        threads = [threading.Thread(target=ask, args=(model,), daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [inference is model.inference_model for inference in found] == [True] * 4
