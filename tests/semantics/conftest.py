"""Each test here states one combination of autograd's semantics; docs/semantics.md is the list of them."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

import pytest
import torch
import torch._dynamo  # a million objects: here, so that they are frozen too
from torch import nn

from pamiq_storm import OffloadConfig, offload

from .training import settle

OUTCOMES = ("works", "refused")
REFUSAL = "refusal"  # the user property that says a refusal was seen, read by tools/semantics_table.py


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "semantics(area, combination, outcome='works', moves=True): a row of docs/semantics.md. {name} in the "
        "combination is the value of that parameter. moves=False: the point is that nothing is offloaded.",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = __name__.rpartition(".")[0]
    for item in items:
        if not isinstance(item, pytest.Function) or not item.module.__name__.startswith(here):
            continue
        mark = item.get_closest_marker("semantics")
        if mark is None and item.module.__name__.rpartition(".")[2] != "test_table":
            raise pytest.UsageError(f"{item.nodeid} has no semantics marker: say which combination it states")
        if mark is not None and mark.kwargs.get("outcome", "works") not in OUTCOMES:
            raise pytest.UsageError(f"{item.nodeid}: an outcome is one of {OUTCOMES}")


@pytest.fixture(scope="module", autouse=True)
def _quick_collections() -> Iterator[None]:
    """Each test collects garbage several times: what imports left behind need not be walked each time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def device_bytes() -> int:
    """What the device holds now that nothing is under way."""
    gc.collect()
    settle()
    if torch.cuda.is_available():
        torch._C._cuda_clearCublasWorkspaces()
    return torch.accelerator.memory_allocated()


class Storms:
    """Makes offload contexts. At the test's end they must have moved something, and hold nothing."""

    def __init__(self, device: str, bounds: OffloadConfig) -> None:
        self._device, self._bounds = device, bounds
        self._made: list[offload] = []

    def __call__(self, model: nn.Module | None = None, **bounds: int | str) -> offload:
        made = offload(model, replace(self._bounds, **bounds), device=self._device)
        self._made.append(made)
        return made

    def offloaded_bytes(self) -> int:
        return sum(storm.stats().offloaded_bytes for storm in self._made)

    def end(self) -> None:
        """Nothing is left on the host, and no lock or count of the engine is off."""
        while self._made:
            storm = self._made.pop()  # a context holds its model
            storm.system._engine.check_invariants()
            assert storm.stats().host_bytes == 0, "bytes of dropped graphs are still on the host"
            storm.close()


NOT_PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not report.passed:
        item.stash[NOT_PASSED] = True
    return report


@pytest.fixture
def storm_of(request: pytest.FixtureRequest, device: str, config: OffloadConfig) -> Iterator[Storms]:
    before = device_bytes()
    storms = Storms(device, config)
    yield storms
    if NOT_PASSED in request.node.stash:
        return  # its traceback holds the test's tensors
    device_bytes()  # waits
    moved = storms.offloaded_bytes() > 0
    storms.end()
    assert moved == request.node.get_closest_marker("semantics").kwargs.get("moves", True)
    assert device_bytes() <= before, "the device holds bytes that it did not hold before the test"


Refused = Callable[[type[Exception], str], contextlib.AbstractContextManager[None]]


@pytest.fixture
def refused(request: pytest.FixtureRequest) -> Refused:
    """``with refused(RuntimeError, "names the thing.*and what to do")``: the block must raise that."""

    @contextlib.contextmanager
    def expect(kind: type[Exception], match: str) -> Iterator[None]:
        with pytest.raises(kind, match=match) as caught:
            yield
        request.node.user_properties.append((REFUSAL, str(caught.value)))
        caught.value.__traceback__ = None  # or its frames keep the test's tensors

    return expect


@pytest.fixture(autouse=True)
def _outcome_is_as_marked(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    mark = request.node.get_closest_marker("semantics")
    if mark is not None and NOT_PASSED not in request.node.stash:
        seen = any(name == REFUSAL for name, _ in request.node.user_properties)
        assert mark.kwargs.get("outcome", "works") == ("refused" if seen else "works")
