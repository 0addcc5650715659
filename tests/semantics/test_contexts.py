"""The context itself: nested, shared, left early, reused, closed; refused where it cannot work."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pamiq_storm
from pamiq_storm import OffloadConfig, StormLayer, offload, sim
from tests.cuda_double import control

from ..engine.models import mlp
from .conftest import Refused, Storms
from .training import STEPS, Context, loss_of, record, same, to_host, train, unchanged, without


def rows(device: str) -> Tensor:
    return torch.randn(32, 64).to(device)


@pytest.mark.semantics("contexts", "nested: the innermost decides, 50 steps")
def test_nested_contexts(device: str, storm_of: Storms) -> None:
    outer, inner = storm_of(), storm_of(window_bytes=0)

    class Both(nn.Module):
        def __init__(self, first: Context, second: Context) -> None:
            super().__init__()
            self.parts = nn.ModuleList([mlp(), mlp(), mlp()])
            self.contexts = (first, second)

        def forward(self, x: Tensor) -> Tensor:
            with self.contexts[0]:
                x = self.parts[0](x)
                with self.contexts[1]:
                    x = self.parts[1](x)
                return self.parts[2](x)

    nothing = contextlib.nullcontext()
    plain = without(lambda context: train(Both(nothing, nothing).to(device), rows(device), context))
    torch.manual_seed(0)
    same(plain, train(Both(outer, inner).to(device), rows(device), nothing))
    assert outer.stats().offloaded_tensors > inner.stats().offloaded_tensors > 0


@pytest.mark.semantics("contexts", "nested in itself")
def test_a_context_nested_in_itself(device: str, storm_of: Storms) -> None:
    storm = storm_of()

    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), rows(device)
        with context, context:
            middle = model[:4](batch)  # type: ignore[index]
            with context:
                loss = loss_of(model[4:](middle))  # type: ignore[index]
        loss.backward()
        return record(model, loss)

    unchanged(run, storm)


@pytest.mark.semantics("contexts", "one context entered by several threads at once")
def test_one_context_in_several_threads(device: str, storm_of: Storms) -> None:
    storm = storm_of()
    inside = threading.Barrier(3, timeout=60)
    torch.manual_seed(0)
    models = [mlp().to(device) for _ in range(3)]
    batch = rows(device)
    expected = [to_host(torch.autograd.grad(loss_of(m(batch)), list(m.parameters()))) for m in models]
    found: dict[int, list[Tensor]] = {}

    def work(index: int) -> None:
        with storm:
            inside.wait()
            loss = loss_of(models[index](batch))
            inside.wait()
        found[index] = to_host(torch.autograd.grad(loss, list(models[index].parameters())))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index in range(3):
        same(expected[index], found[index])


@pytest.mark.parametrize("where", ["inside the context", "after it", "after another entry", "after it was closed"])
@pytest.mark.semantics("contexts", "backward {where}")
def test_backward_anywhere(where: str, device: str, storm_of: Storms) -> None:
    storm = storm_of()

    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), rows(device)
        with context:
            loss = loss_of(model(batch))
            if where == "inside the context":
                loss.backward()
        if where == "after another entry":
            with context:
                model(batch)
        if where == "after it was closed" and isinstance(context, offload):
            context.close()
        if where != "inside the context":
            loss.backward()
        return record(model, loss)

    unchanged(run, storm)


@pytest.mark.semantics("contexts", "left by an exception, by break and by return, then used again, 50 steps")
def test_left_in_every_way(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), rows(device)

        def returns() -> Tensor:
            with context:
                return loss_of(model(batch))

        seen: list[Tensor] = []
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(STEPS):
            with contextlib.suppress(ValueError), context:
                model(batch)
                raise ValueError
            while True:
                with context:
                    model(batch)
                    break
            optimizer.zero_grad()
            loss = returns()
            loss.backward()
            seen += record(model, loss)
            optimizer.step()
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("contexts", "entered by hand (ExitStack, __enter__) and as made anew each step")
def test_entered_by_hand(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        model, batch = mlp().to(device), rows(device)
        seen: list[Tensor] = []
        for _ in range(5):
            with contextlib.ExitStack() as stack:
                stack.enter_context(context)
                loss = loss_of(model(batch))
            seen += torch.autograd.grad(loss, list(model.parameters()))
        return seen

    unchanged(run, storm_of())


@pytest.mark.semantics("contexts", "closed, then entered", outcome="refused", moves=False)
def test_a_closed_context_is_refused(device: str, storm_of: Storms, refused: Refused) -> None:
    storm = storm_of()
    storm.close()
    storm.close()
    with refused(RuntimeError, rf"offload context of {device}:0 is closed: create a new one"), storm:
        pass


@pytest.mark.semantics("contexts", "left in another order than entered", outcome="refused", moves=False)
def test_the_wrong_order_is_refused(device: str, storm_of: Storms, refused: Refused) -> None:
    first, second = storm_of(), storm_of()
    first.__enter__()
    second.__enter__()
    with refused(RuntimeError, r"left in another order than they were entered.*leave the innermost first"):
        first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    torch._C._autograd._pop_saved_tensors_default_hooks()


@pytest.mark.semantics("contexts", "a model on the CPU", outcome="refused")
def test_a_cpu_model_is_refused(device: str, refused: Refused) -> None:
    with refused(ValueError, r"device is cpu: move the model to an accelerator"):
        offload(nn.Linear(2, 2))


@pytest.mark.semantics("contexts", "a model on several devices, none named", outcome="refused")
def test_a_model_on_several_devices_is_refused(device: str, refused: Refused) -> None:
    with refused(ValueError, r"the model lies on several devices \(.*\): name the one to relieve with device="):
        offload(nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2).to(device)]))


@pytest.mark.semantics("contexts", "saving on the engine's own transfer stream", outcome="refused", moves=False)
def test_saving_on_a_transfer_stream_is_refused(device: str, storm_of: Storms, refused: Refused) -> None:
    storm = storm_of()
    x = rows(device).requires_grad_()
    torch.accelerator.synchronize()
    with storm.system.streams[0], refused(RuntimeError, "transfer streams"), storm:
        (x * 1.0).sin()
    torch.accelerator.synchronize()


@pytest.mark.semantics("contexts", "a StormLayer inside, and around with its own default engine, 50 steps")
def test_storm_layers_in_a_context(device: str, storm_of: Storms) -> None:
    def model(kind: type[nn.Linear]) -> nn.Module:
        return nn.Sequential(kind(64, 64), nn.Tanh(), kind(64, 64)).to(device)

    plain = without(lambda context: train(model(nn.Linear), rows(device), context))
    torch.manual_seed(0)
    same(plain, train(model(StormLayer), rows(device), storm_of()))
    torch.manual_seed(0)
    same(plain, train(model(StormLayer), rows(device), contextlib.nullcontext()))


@pytest.mark.semantics("contexts", "a generator suspended inside a context, resumed and finished")
def test_a_generator_inside(device: str, storm_of: Storms) -> None:
    def run(context: Context) -> list[Tensor]:
        x = torch.randn(64, 64).to(device).requires_grad_()

        def parts() -> object:
            with context:
                y = (x * 1.0).sin()
                yield y
                yield y.cos()

        made = list(parts())  # type: ignore[call-overload]
        return list(torch.autograd.grad(made[-1].sum(), x))

    unchanged(run, storm_of())


@pytest.mark.semantics("graph capture", "capture in the context", outcome="refused", moves=False)
def test_graph_capture_is_refused(device: str, storm_of: Storms, refused: Refused) -> None:
    model, batch = mlp().to(device), rows(device)
    storm = storm_of(model)
    capture = sim.capture() if sim.is_enabled() else torch.cuda.graph(torch.cuda.CUDAGraph())
    with refused(RuntimeError, r"(?i)cannot offload while a graph .* is captured"), capture, storm:
        loss_of(model(batch)).backward()


TWO_DEVICES = """
import torch
from torch import nn
from pamiq_storm import OffloadConfig, offload, sim

sim.enable(memory="256MiB", devices=2)
config = OffloadConfig(min_bytes=1024, window_bytes="64KiB", prefetch_bytes="64KiB", keep_last_bytes=0,
                       slab_bytes="1MiB")


def run(first, second):
    torch.manual_seed(0)
    ends = [nn.Linear(64, 64).to("sim:0"), nn.Linear(64, 64).to("sim:1")]
    x = torch.randn(64, 64).to("sim:0")
    seen = []
    for _ in range(10):
        with first:
            y = torch.tanh(ends[0](x)).sin()
            z = y.to("sim:1")
            with second:
                loss = torch.tanh(ends[1](z)).cos().square().mean()
        parameters = [p for end in ends for p in end.parameters()]
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
            seen.append(g.cpu())
            p.data.sub_(g, alpha=0.1)
    return seen


import contextlib
nothing = contextlib.nullcontext()
plain = run(nothing, nothing)
for names in (["sim:0"], ["sim:1"], ["sim:0", "sim:1"]):
    storms = [offload(None, config, device=name) for name in names]
    found = run(storms[0], storms[-1] if len(storms) > 1 else nothing)
    assert all(torch.equal(a, b) for a, b in zip(plain, found)), names
    for storm in storms:
        assert storm.stats().offloaded_bytes > 0, names
        assert storm.stats().host_bytes == 0, names
    if len(storms) == 1:
        assert storms[0].stats().kept_foreign_tensors > 0, names
"""


@pytest.mark.semantics("foreign devices", "two accelerators in one graph: each context moves its own device's tensors")
def test_a_second_device(device: str) -> None:
    if device != "sim" and torch.cuda.device_count() < 2 and not control.is_active():
        pytest.skip(f"{torch.cuda.device_count()} CUDA device here")
    script = textwrap.dedent(TWO_DEVICES)
    if device != "sim":
        script = script.replace('sim.enable(memory="256MiB", devices=2)', "").replace("sim:", "cuda:")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100,
        cwd=Path(pamiq_storm.__file__).parents[1], env=control.environment(devices=2) if control.is_active() else None,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.semantics("contexts", "equal configurations share an engine; both contexts count what each did")
def test_contexts_of_one_engine(device: str, storm_of: Storms) -> None:
    first, second = storm_of(), storm_of()
    assert first.system is second.system
    model, batch = mlp().to(device), rows(device)
    with first:
        one = loss_of(model(batch))
    with second:
        two = loss_of(model(batch))
    a, b = (to_host(torch.autograd.grad(loss, list(model.parameters()))) for loss in (one, two))
    same(a, b)
    assert isinstance(first.system.config, OffloadConfig)
