"""Graphs alive together, differentiated in any order, more than once, or never."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from ..engine.models import Attention, mlp
from .conftest import Storms, device_bytes
from .training import STEPS, Context, loss_of, record, to_host, unchanged

SCHEDULES = {
    "a b, then backward a b": "a1 a2 b1 b2 a- b-",
    "a b, then backward b a": "a1 a2 b1 b2 b- a-",
    "a, backward a, b, backward b": "a1 a2 a- b1 b2 b-",
    "backward of a while b's forward is half done": "a1 a2 b1 a- b2 b-",
    "forwards that alternate layer by layer, backward a b": "a1 b1 a2 b2 a- b-",
    "forwards that alternate layer by layer, backward b a": "a1 b1 a2 b2 b- a-",
    "three graphs, the middle one first": "a1 a2 b1 b2 c1 c2 b- a- c-",
    "three graphs, each backward inside the next forward": "a1 a2 b1 a- b2 c1 b- c2 c-",
}


class Half:
    """A forward in two halves, so that others may run between them."""

    def __init__(self, model: nn.Sequential, batch: Tensor) -> None:
        self.model, self.x, self.middle = model, batch, len(model) // 2

    def advance(self, half: str) -> None:
        for layer in self.model[: self.middle] if half == "1" else self.model[self.middle :]:
            self.x = layer(self.x)


@pytest.mark.parametrize("entries", ["one entry", "an entry each"])
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.semantics("graphs", "{schedule} ({entries}), 50 steps")
def test_graphs_interleave(schedule: str, entries: str, device: str, storm_of: Storms) -> None:
    def step(model: nn.Sequential, batches: dict[str, Tensor], context: Context) -> Iterator[Tensor]:
        graphs = {name: Half(model, batch) for name, batch in batches.items()}
        for word in SCHEDULES[schedule].split():
            graph = graphs[word[0]]
            if word[1] == "-":
                loss = loss_of(graph.x)
                loss.backward()
                yield loss
            elif entries == "one entry":
                graph.advance(word[1])
            else:
                with context:
                    graph.advance(word[1])

    def run(context: Context) -> list[Tensor]:
        model = mlp().to(device)
        assert isinstance(model, nn.Sequential)
        batches = {name: torch.randn(32, 64).to(device) for name in "abc" if name in SCHEDULES[schedule]}
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        seen: list[Tensor] = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            if entries == "one entry":
                with context:
                    losses = list(step(model, batches, context))
            else:
                losses = list(step(model, batches, context))
            seen += to_host(losses) + record(model, losses[-1])
            optimizer.step()
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("graphs", "graphs dropped without backward between the steps, 50 steps")
def test_dropped_graphs_change_nothing(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model = mlp().to(device)
        batch = torch.randn(32, 64).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        seen: list[Tensor] = []
        for _ in range(STEPS):
            with context:
                model(batch * 2)  # never differentiated
                half = model[:3](batch)
                loss = loss_of(model(batch))
            del half
            optimizer.zero_grad()
            loss.backward()
            seen += record(model, loss)
            optimizer.step()
        return seen

    unchanged(run, storm_of())


@pytest.mark.parametrize("place", ["forward", "backward", "a hook of backward", "the pack of a later layer"])
@pytest.mark.semantics("exceptions", "in {place}: the next step is right, no bytes are left")
def test_after_an_exception_the_next_step_is_right(place: str, device: str, storm_of: Storms) -> None:
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[override]
            if place == "forward":
                raise KeyError("forward")
            ctx.save_for_backward(x)
            return x.clone()

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
            if place == "backward":
                raise KeyError("backward")
            return grad

    def hook(grad: Tensor) -> None:
        if place == "a hook of backward":
            raise KeyError("hook")

    def pack(tensor: Tensor) -> Tensor:
        raise KeyError("pack")

    def fail(model: nn.Module, batch: Tensor, context: Context) -> None:
        with context:
            x = model[:4](batch)  # type: ignore[index]
            x.register_hook(hook)
            x = Fails.apply(x)
            if place == "the pack of a later layer":
                with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
                    x = model[4:](x)  # type: ignore[index]
            loss = loss_of(model[4:](x))  # type: ignore[index]
        loss.backward()

    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), torch.randn(32, 64).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        seen: list[Tensor] = []
        for _ in range(10):
            with pytest.raises(KeyError) as caught:
                fail(model, batch, context)
            del caught
            optimizer.zero_grad()
            with context:
                loss = loss_of(model(batch))
            loss.backward()
            seen += record(model, loss)
            optimizer.step()
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("graphs", "a graph is dropped while its copies are under way: its bytes leave host and device")
def test_a_dropped_graphs_bytes_are_given_back(device: str, storm_of: Storms) -> None:
    model, batch = mlp().to(device), torch.randn(512, 64).to(device)
    storm = storm_of(model)
    before = device_bytes()
    with storm:
        output = model(batch)
    assert storm.stats().host_bytes > 0
    del output
    held = device_bytes() - before  # waits: a buffer counts until its copy is over
    assert storm.stats().host_bytes == 0
    assert held <= 64 * 1024 + batch.nbytes  # the window's last tensor


@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.semantics("backward again", "retain_graph, {times} times, 50 steps")
def test_backward_again(times: int, device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = Attention().to(device), torch.randint(0, 64, (4, 16)).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        seen: list[Tensor] = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            with context:
                loss = loss_of(model(batch))
            for index in range(times):
                loss.backward(retain_graph=index + 1 < times)
            seen += record(model, loss)
            optimizer.step()
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("backward again", "backward through a freed graph is torch's own error")
def test_backward_through_a_freed_graph_is_torchs_error(device: str, storm_of: Storms) -> None:
    model, batch = mlp().to(device), torch.randn(32, 64).to(device)
    with storm_of(model):
        loss = loss_of(model(batch))
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


@pytest.mark.semantics("backward again", "two losses over one trunk, each with its own backward, 50 steps")
def test_two_losses_share_a_trunk(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        trunk, heads = mlp().to(device), [nn.Linear(64, 8).to(device), nn.Linear(64, 8).to(device)]
        model = nn.ModuleList([trunk, *heads])
        batch = torch.randn(32, 64).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        seen: list[Tensor] = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            with context:
                features = trunk(batch)
                first, second = (loss_of(head(features)) for head in heads)
            first.backward(retain_graph=True)
            second.backward()
            seen += record(model, second)
            optimizer.step()
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("backward again", "gradients of parts of a graph (autograd.grad with inputs inside it)")
def test_parts_of_a_graph_are_differentiated_alone(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), torch.randn(32, 64).to(device)
        with context:
            middle = model[:4](batch)  # type: ignore[index]
            end = model[4:](middle)  # type: ignore[index]
            loss = loss_of(end)
        (at_end,) = torch.autograd.grad(loss, end, retain_graph=True)
        (at_middle,) = torch.autograd.grad(end, middle, at_end, retain_graph=True)
        again = torch.autograd.grad(loss, [middle, *model.parameters()])
        return [at_end, at_middle, *again]

    unchanged(run, storm_of())


@pytest.mark.parametrize("parts", [2, 5])
@pytest.mark.semantics("accumulation", "gradients of {parts} micro-batches, 50 steps")
def test_gradients_accumulate(parts: int, device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), torch.randn(parts, 32, 64).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        seen: list[Tensor] = []
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=False)
            for part in batch:
                with context:
                    loss = loss_of(model(part)) / parts
                loss.backward()
            seen += record(model, loss)
            optimizer.step()
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("accumulation", "micro-batches summed into one graph, 50 steps")
def test_one_graph_of_several_forwards(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), torch.randn(3, 16, 64).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        seen: list[Tensor] = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            losses = []
            for part in batch:
                with context:
                    losses.append(loss_of(model(part)))
            total = torch.stack(losses).sum()
            total.backward()
            seen += record(model, total)
            optimizer.step()
        return seen

    storm = storm_of()
    unchanged(run, storm)
