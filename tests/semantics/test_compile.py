"""torch.compile around and inside the context, and compiled autograd."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pamiq_storm

from ..engine.models import mlp
from .conftest import Refused, Storms
from .training import Context, loss_of, train, unchanged

STEPS = 5  # compiling takes the time


@pytest.fixture(autouse=True)
def _fresh_compiler(storm_of: Storms) -> Iterator[None]:
    """Compiled code is dropped before the test's bytes are counted."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def rows(device: str) -> Tensor:
    return torch.randn(32, 64).to(device)


class Net(nn.Module):
    """A model with a view, a saved output, and an operation that saves two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.tanh(self.first(x))
        return self.second(y * y.sin()).view(-1, 8, 8).transpose(1, 2) * 2.0


@pytest.mark.parametrize("fullgraph", [False, True])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.semantics("torch.compile", "the context around a compiled model ({backend}, fullgraph={fullgraph})")
def test_the_context_around_a_compiled_model(backend: str, fullgraph: bool, device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model = Net().to(device)
        return train(torch.compile(model, backend=backend, fullgraph=fullgraph), rows(device), context, STEPS)  # type: ignore[arg-type]

    unchanged(run, storm_of())


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.semantics("torch.compile", "the context entered by a compiled function ({backend}, fullgraph=False)")
def test_the_context_inside_a_compiled_function(backend: str, device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model = Net().to(device)

        def forward(x: Tensor) -> Tensor:
            with context:
                y = model(x)
            return y * 1.0

        class Compiled(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model
                self.call = torch.compile(forward, backend=backend)

            def forward(self, x: Tensor) -> Tensor:
                return self.call(x)

        return train(Compiled(), rows(device), torch.enable_grad(), STEPS)

    unchanged(run, storm_of())


@pytest.mark.semantics(
    "torch.compile", "the context entered by a compiled function, fullgraph=True", outcome="refused", moves=False
)
def test_the_context_inside_a_whole_graph_is_refused(device: str, storm_of: Storms, refused: Refused) -> None:
    model = Net().to(device)
    storm = storm_of(model)

    @torch.compile(backend="aot_eager", fullgraph=True)
    def forward(x: Tensor) -> Tensor:
        with storm:
            return model(x)

    with refused(torch._dynamo.exc.Unsupported, r"(?s)enter a `offload` context manager.*Avoid using"):
        forward(rows(device))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.semantics("torch.compile", "parts of a model compiled, others not ({backend})")
def test_compiled_parts(backend: str, device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        first, second = Net().to(device), Net().to(device)
        part = torch.compile(first, backend=backend)

        class Whole(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.parts = nn.ModuleList([first, second])

            def forward(self, x: Tensor) -> Tensor:
                return self.parts[1](part(torch.sin(x * 1.5)).reshape(-1, 64))

        return train(Whole(), rows(device), context, STEPS)

    unchanged(run, storm_of())


@pytest.mark.semantics("torch.compile", "a graph break inside the compiled model (aot_eager)")
def test_a_graph_break(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        class Broken(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)

            def forward(self, x: Tensor) -> Tensor:
                x = torch.tanh(self.first(x))
                torch._dynamo.graph_break()
                return torch.tanh(self.second(x))

        model = Broken().to(device)
        return train(torch.compile(model, backend="aot_eager"), rows(device), context, STEPS)  # type: ignore[arg-type]

    unchanged(run, storm_of())


@pytest.mark.semantics("torch.compile", "shapes that change from step to step (aot_eager, dynamic)")
def test_dynamic_shapes(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model = torch.compile(Net().to(device), backend="aot_eager", dynamic=True)
        batches = [torch.randn(16 + 8 * step, 64).to(device) for step in range(STEPS)]
        return train(model, lambda step: batches[step], context, STEPS)  # type: ignore[arg-type]

    unchanged(run, storm_of())


@pytest.mark.semantics("torch.compile", "compiled once, called with and without the context in turn")
def test_the_context_is_asked_at_each_call(device: str, storm_of: Storms) -> None:
    model, batch = Net().to(device), rows(device)
    compiled = torch.compile(model, backend="aot_eager")
    storm = storm_of(model)

    def gradients(context: Context) -> list[Tensor]:
        with context:
            loss = loss_of(compiled(batch))
        return [loss, *torch.autograd.grad(loss, list(model.parameters()))]

    gradients(torch.enable_grad())
    for _ in range(3):
        before = storm.stats().offloaded_tensors
        unchanged(gradients, storm)
        assert storm.stats().offloaded_tensors > before


@pytest.mark.semantics("torch.compile", "torch.compile of a function that also calls backward")
def test_backward_inside_the_compiled_function(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), rows(device)

        @torch.compile(backend="aot_eager")
        def step(x: Tensor) -> Tensor:
            with context:
                loss = loss_of(model(x))
            loss.backward()
            return loss

        losses = [step(batch) for _ in range(3)]
        return [*losses, *(p.grad for p in model.parameters() if p.grad is not None)]

    unchanged(run, storm_of())


@pytest.mark.parametrize("backend", ["aot_eager"])
@pytest.mark.semantics("compiled autograd", "an eager forward in the context, its backward compiled ({backend})")
def test_compiled_autograd(backend: str, device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = nn.Sequential(nn.Linear(64, 64), nn.Tanh()).to(device), rows(device)
        seen: list[Tensor] = []
        for _ in range(2):
            model.zero_grad()
            with context:
                loss = loss_of(model(batch))
            with torch._dynamo.compiled_autograd._enable(torch.compile(backend=backend)):
                loss.backward()
            seen += [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]
        return seen

    unchanged(run, storm_of())


EAGER_BACKEND = """
import contextlib, gc, sys
import torch
from torch import nn
from pamiq_storm import OffloadConfig, offload, sim

device = sys.argv[1]
if device == "sim":
    sim.enable(memory="1GiB")


@torch._dynamo.disable
def unpack(packed):
    return packed[1].to(packed[0])


def run(context):
    torch.manual_seed(0)
    model, batch = nn.Sequential(nn.Linear(64, 64), nn.Tanh()).to(device), torch.randn(32, 64).to(device)
    with context:
        loss = model(batch).square().mean()
    with torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager")):
        loss.backward()
    seen = [p.grad.cpu() for p in model.parameters()]
    del model, batch, loss
    torch._dynamo.reset()
    gc.collect()
    torch.accelerator.synchronize()
    return seen, torch.accelerator.memory_allocated()


torch.accelerator.memory_allocated()
hooks = torch.autograd.graph.saved_tensors_hooks(lambda tensor: (tensor.device, tensor.cpu()), unpack)
theirs, held_by_theirs = run(hooks)
storm = offload(None, OffloadConfig(min_bytes=1024, keep_last_bytes=0, slab_bytes="1MiB"), device=device)
ours, held_by_both = run(storm)
assert storm.stats().offloaded_tensors >= 1, storm.stats()
assert all(torch.equal(a, b) for a, b in zip(theirs, ours, strict=True))
assert held_by_both <= 2 * held_by_theirs, (held_by_theirs, held_by_both)
"""


@pytest.mark.semantics(
    "compiled autograd", "an eager forward in the context, its backward compiled (eager)", moves=False
)
def test_compiled_autograd_on_the_debugging_backend(device: str) -> None:
    """There torch keeps one graph alive for every hook that Dynamo cannot trace: ours is no worse than any of these."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", EAGER_BACKEND, device],
        capture_output=True, text=True, timeout=100, cwd=Path(pamiq_storm.__file__).parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.semantics("compiled autograd", "config.compiled_autograd=True with a compiled model (aot_eager)")
def test_compiled_autograd_by_configuration(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = Net().to(device), rows(device)

        @torch.compile(backend="aot_eager")
        def step(x: Tensor) -> Tensor:
            loss = loss_of(model(x))
            loss.backward()
            return loss

        seen: list[Tensor] = []
        with torch._dynamo.config.patch(compiled_autograd=True):
            for _ in range(3):
                model.zero_grad()
                with context:
                    loss = step(batch)
                seen += [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]
        return seen

    unchanged(run, storm_of())
