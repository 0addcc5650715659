"""Threads and streams: forward and backward wherever they run. Several processes (DDP) are not stated here."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pamiq_storm import sim
from tests.machine import needs_control

from ..engine.models import mlp
from .conftest import Storms
from .training import STEPS, Context, loss_of, record, same, to_host, train, unchanged, without


def in_threads(*work: Callable[[], None]) -> None:
    """Runs all at once; an exception of any is raised here."""
    errors: list[BaseException] = []

    def guarded(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as error:  # told to the test's thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(function,)) for function in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.semantics("threads", "forward here, backward in another thread, 50 steps")
def test_backward_in_another_thread(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), torch.randn(32, 64).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        seen: list[Tensor] = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            with context:
                loss = loss_of(model(batch))
            in_threads(loss.backward)
            seen += record(model, loss)
            optimizer.step()
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("threads", "forward in another thread, backward here")
def test_forward_in_another_thread(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), torch.randn(32, 64).to(device)
        losses: list[Tensor] = []

        def forward() -> None:
            with context:
                losses.append(loss_of(model(batch)))

        for _ in range(10):
            in_threads(forward)
            losses[-1].backward()
        return [*losses, *record(model, losses[-1])]

    unchanged(run, storm_of())


@pytest.mark.semantics("threads", "a context entered here is not in force in another thread")
def test_a_context_belongs_to_the_thread_that_entered_it(device: str, storm_of: Storms) -> None:
    model, batch = mlp().to(device), torch.randn(32, 64).to(device)
    storm = storm_of(model)

    def forward() -> None:
        loss_of(model(batch)).backward()

    with storm:
        in_threads(forward)
        assert storm.stats().offloaded_tensors == 0
        loss = loss_of(model(batch))
    loss.backward()


@pytest.mark.parametrize("shared", ["one context", "a context each"])
@pytest.mark.semantics("threads", "four threads train a model each ({shared}), 50 steps")
def test_threads_train_their_own_models(shared: str, device: str, storm_of: Storms) -> None:
    def start(seed: int) -> tuple[nn.Module, Tensor]:
        torch.manual_seed(seed)
        return mlp().to(device), torch.randn(16 * (seed + 1), 64).to(device)

    plain = [train(*start(seed), without_context()) for seed in range(4)]
    begun = [start(seed) for seed in range(4)]
    contexts = [storm_of()] * 4 if shared == "one context" else [storm_of(model) for model, _ in begun]
    results: dict[int, list[Tensor]] = {}

    def work(seed: int) -> Callable[[], None]:
        def training() -> None:
            results[seed] = train(*begun[seed], contexts[seed])

        return training

    in_threads(*(work(seed) for seed in range(4)))
    for seed in range(4):
        same(plain[seed], results[seed])


def without_context() -> Context:
    return torch.enable_grad()


@pytest.mark.semantics("threads", "three threads differentiate one model, no gradients shared")
def test_threads_share_a_model(device: str, storm_of: Storms) -> None:
    torch.manual_seed(0)
    model = mlp().to(device)
    batches = [torch.randn(32, 64).to(device) for _ in range(3)]
    parameters = list(model.parameters())

    def gradients(batch: Tensor, context: Context) -> list[Tensor]:
        with context:
            loss = loss_of(model(batch))
        return to_host([loss, *torch.autograd.grad(loss, parameters)])

    plain = [gradients(batch, without_context()) for batch in batches]
    storm = storm_of(model)

    def work(index: int) -> Callable[[], None]:
        def repeat() -> None:
            for _ in range(STEPS):
                same(plain[index], gradients(batches[index], storm))

        return repeat

    in_threads(*(work(index) for index in range(3)))


@pytest.mark.semantics("threads", "two threads differentiate one retained graph at once")
def test_two_threads_differentiate_one_graph(device: str, storm_of: Storms) -> None:
    torch.manual_seed(0)
    model, batch = mlp().to(device), torch.randn(32, 64).to(device)
    parameters = list(model.parameters())
    plain = to_host(torch.autograd.grad(loss_of(model(batch)), parameters))
    with storm_of(model):
        loss = loss_of(model(batch))

    def repeat() -> None:
        for _ in range(20):
            same(plain, to_host(torch.autograd.grad(loss, parameters, retain_graph=True)))

    in_threads(repeat, repeat)


@pytest.mark.semantics("threads", "a graph made here is dropped in another thread")
def test_a_graph_is_dropped_in_another_thread(device: str, storm_of: Storms) -> None:
    model, batch = mlp().to(device), torch.randn(256, 64).to(device)
    storm = storm_of(model)
    for _ in range(10):
        with storm:
            graphs = [model(batch)]
        in_threads(graphs.clear)
    torch.accelerator.synchronize()
    assert storm.stats().host_bytes == 0


@pytest.mark.parametrize("where", ["forward", "backward", "both"])
@pytest.mark.semantics("streams", "{where} on a side stream, 50 steps")
def test_a_side_stream(where: str, device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), torch.randn(32, 64).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        main, side = torch.accelerator.current_stream(), torch.Stream(device=device)
        seen: list[Tensor] = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            first, second = (side if where in (part, "both") else main for part in ("forward", "backward"))
            first.wait_stream(main)
            with first, context:
                loss = loss_of(model(batch))
            second.wait_stream(first)
            with second:
                loss.backward()
            main.wait_stream(second)
            main.wait_stream(first)
            seen += record(model, loss)
            optimizer.step()
            side.wait_stream(main)  # before the gradients are freed, which are memory of the side stream
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("streams", "branches of one forward on two streams, 50 steps")
def test_branches_on_two_streams(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        trunk, left, right = mlp().to(device), mlp().to(device), mlp().to(device)
        model = nn.ModuleList([trunk, left, right])
        batch = torch.randn(32, 64).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        main, side = torch.accelerator.current_stream(), torch.Stream(device=device)
        seen: list[Tensor] = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            with context:
                features = trunk(batch)
                side.wait_stream(main)
                with side:
                    other = right(features)
                one = left(features)
                main.wait_stream(side)
                loss = loss_of(one + other)
            loss.backward()
            torch.accelerator.synchronize()  # the branch's memory belongs to the side stream
            seen += record(model, loss)
            optimizer.step()
            side.wait_stream(main)
            del features, one, other
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("streams", "made on one stream, saved on another whose copy is late, then reused")
def test_memory_of_another_stream_is_not_reused_while_its_copy_waits(device: str, storm_of: Storms) -> None:
    """In torch the graph holds the tensor until backward; we let go of it, and must not do so too early."""
    needs_control("needs a stream that can be held")

    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()
        main, side = torch.accelerator.current_stream(), torch.Stream(device=device)
        made = x * 2  # on the main stream
        side.wait_stream(main)
        with sim.hold(side):
            with side, context:
                loss = made.sin().sum()
            del made
            for _ in range(4):
                torch.full((64, 64), 9.0, device=device)  # the main stream takes whatever block is free
            torch.accelerator.current_stream().synchronize()
        main.wait_stream(side)
        # Retained: without us what was saved then lives until both streams are done.
        (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
        torch.accelerator.synchronize()
        return [gradient]

    unchanged(run, storm_of(window_bytes=0, keep_last_bytes=0, prefetch_bytes=0))


@pytest.mark.semantics("threads", "storms of four configurations at once on one device")
def test_engines_side_by_side(device: str, storm_of: Storms) -> None:
    plain = without(lambda nothing: train(mlp().to(device), torch.randn(16, 64).to(device), nothing, 10))
    storms = [storm_of(window_bytes=window) for window in (0, "4KiB", "16KiB", "64KiB")]
    results: list[list[Tensor]] = []
    lock = threading.Lock()

    def work(storm: Context) -> Callable[[], None]:
        def training() -> None:
            with lock:  # the seed is global
                torch.manual_seed(0)
                model, batch = mlp().to(device), torch.randn(16, 64).to(device)
            results.append(train(model, batch, storm, 10))

        return training

    in_threads(*(work(storm) for storm in storms))
    for result in results:
        same(plain, result)
    assert len(results) == 4
