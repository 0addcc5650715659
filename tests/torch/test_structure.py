"""Whatever becomes of the training module, the next sync serves it as it is; a sync that fails changes nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from pamiq_storm.torch import PublishMode, TorchTrainingModel
from pamiq_storm.torch import publication as publication_module
from pamiq_storm.torch import shell as shell_module

from .live_models import Net, Scaled, X, assert_serves, expected, step, storage_bytes


def _set(name: str, value: Callable[[], Any]) -> Callable[[Net], object]:
    return lambda net: setattr(net, name, value())


def _data(net: Net) -> None:
    net.head.weight.data = torch.randn(4, 8)


def _data_of_other_geometry(net: Net) -> None:
    net.head.weight.data = torch.randn(8, 4).t()


def _data_of_a_piece(net: Net) -> None:
    net.head.weight.data = torch.randn(100)[3:35].view(4, 8)


def _shared_data(net: Net) -> None:
    net.body[0].bias.data = net.body[1].bias.data


def _assign(net: Net) -> None:
    net.load_state_dict(
        {
            name: torch.rand_like(value) + 0.1 if value.is_floating_point() else value.clone()
            for name, value in net.state_dict().items()
        },
        assign=True,
    )


def _resize(net: Net) -> None:
    net.extra = torch.zeros(3)
    net.register_buffer("grows", torch.zeros(3))


def _grow(net: Net) -> None:
    net.body[1].running_mean.resize_(16).resize_(8).fill_(0.5)


def _swap_children(net: Net) -> None:
    net.body[0] = nn.Linear(4, 8)


def _longer(net: Net) -> None:
    net.body.append(nn.Linear(8, 8))


def _tie(net: Net) -> None:
    net.body[1].weight = net.body[1].bias


def _prune(net: Net) -> None:
    prune.l1_unstructured(net.head, "weight", 0.5)


CHANGES: dict[str, Callable[[Net], object]] = {
    "another parameter": lambda net: setattr(net.head, "weight", nn.Parameter(torch.randn(4, 8))),
    "another submodule": _set("head", lambda: nn.Linear(8, 4)),
    "another kind of submodule": _set("head", lambda: nn.Sequential(nn.Linear(8, 2), nn.Tanh(), nn.Linear(2, 4))),
    "another child": _swap_children,
    "one child more": _longer,
    "one child fewer": lambda net: net.body.pop(3),
    "another buffer": lambda net: setattr(net.body[1], "running_mean", torch.ones(8)),
    "one buffer more": _resize,
    "a buffer grown in place": _grow,
    "no bias": lambda net: setattr(net.head, "bias", None),
    "data replaced": _data,
    "data of other strides": _data_of_other_geometry,
    "data that is a piece of more": _data_of_a_piece,
    "data shared": _shared_data,
    "state dict assigned": _assign,
    "weight norm": lambda net: parametrizations.weight_norm(net.head),
    "weight norm by hooks": lambda net: nn.utils.weight_norm(net.head),
    "spectral norm": lambda net: parametrizations.spectral_norm(net.head),
    "pruned": _prune,
    "tied": _tie,
    "double": lambda net: net.double(),
    "half": lambda net: net.bfloat16(),
    "frozen": lambda net: net.head.weight.requires_grad_(False),
    "modes": lambda net: net.body.eval(),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_structure_is_served_by_the_next_sync(publish: PublishMode, change: str) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    step(model)
    model.sync()
    old = expected(model)
    with model.inference_model.unwrap() as reader:
        with torch.inference_mode(False):
            CHANGES[change](model.model)
        assert torch.equal(model.inference_model.infer(X), old), "before the sync the old version is served"
        with torch.inference_mode(False):
            x = X.to(next(model.model.parameters()).dtype)
        for round_ in range(4):
            model.sync()
            assert_serves(model, x)
            assert torch.equal(reader(X), old), "who reads the old version keeps it"
            if round_ > 0:
                with torch.inference_mode(False):
                    step(model, x)
    stats = model.publish_stats()
    assert stats.transient_bytes == 0
    assert stats.version == stats.syncs == 5
    assert stats.rebuilds <= 1


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["parametrization", "hooks", "pruning"])
def test_what_reshapes_weights_can_be_removed(publish: PublishMode, kind: str) -> None:
    net = Net()
    if kind == "parametrization":
        parametrizations.weight_norm(net.head)
    elif kind == "hooks":
        nn.utils.weight_norm(net.head)
    else:
        _prune(net)
    model = TorchTrainingModel(net, publish=publish)
    assert_serves(model)
    step(model)
    model.sync()
    assert_serves(model)
    if kind == "parametrization":
        parametrize.remove_parametrizations(net.head, "weight")
    elif kind == "hooks":
        nn.utils.remove_weight_norm(net.head)
    else:
        prune.remove(net.head, "weight")
    for _ in range(3):
        model.sync()
        assert_serves(model)
        step(model)


def test_a_dtype_moved_twice_by_to_is_followed(publish: PublishMode) -> None:
    model = TorchTrainingModel(Net(), publish=publish, dtype=torch.float64)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float32):
        model.model.to(dtype)
        model.sync()
        assert model.inference_model.infer(X.to(dtype)).dtype == dtype
        assert_serves(model, X.to(dtype))


class BrokenError(RuntimeError):
    """Raised by the tests."""


class NotToBeCopied(nn.Module):
    def __deepcopy__(self, memo: dict[int, Any]) -> NotToBeCopied:
        raise BrokenError("not this one")


def test_a_submodule_that_cannot_be_copied_changes_nothing(publish: PublishMode) -> None:
    model = TorchTrainingModel(Scaled(2.0), publish=publish)
    model.sync()
    old = expected(model)
    model.model.scale = 3.0
    model.model.child = NotToBeCopied()
    for _ in range(3):
        with pytest.raises(TypeError, match="Scaled cannot be copied for inference: not this one"):
            model.sync()
        assert torch.equal(model.inference_model.infer(X), old)
        assert model.inference_model.version == 1
    del model.model.child
    model.sync()
    assert_serves(model)  # with the scale that was set before the failure


def test_an_attribute_that_cannot_be_copied_is_shared(publish: PublishMode) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    _ = model.inference_model
    model.model.stream = (number for number in range(3))
    model.sync()
    with model.inference_model.unwrap() as served:
        assert served.stream is model.model.stream
    assert_serves(model)


def test_a_first_version_that_cannot_be_copied_says_so(publish: PublishMode) -> None:
    model = TorchTrainingModel(nn.Sequential(NotToBeCopied()), publish=publish)
    with pytest.raises(TypeError, match=r"Sequential cannot be copied for inference.*__deepcopy__"):
        _ = model.inference_model


STEPS = {
    "collect": (publication_module.Publication, "_collect"),
    "changed": (shell_module.Body, "changed"),
    "take idle": (publication_module.Publication, "_take_idle"),
    "update": (shell_module.Shell, "update"),
    "free since": (publication_module.Publication, "_if_free"),
    "unreferenced": (shell_module.Shell, "unreferenced"),
    "own": (shell_module, "own"),
    "rebuild: body": (shell_module.Body, "__init__"),
    "rebuild: shell": (shell_module.Shell, "__init__"),
    "rebuild: settle": (shell_module.Shell, "settle"),
}


@pytest.mark.parametrize("at", STEPS)
@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt])
def test_a_sync_that_fails_at_any_step_changes_nothing(
    publish: PublishMode, at: str, kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    for _ in range(2):
        step(model)
        model.sync()
    module, old = model.model, expected(model)
    rest = model.publish_stats()
    shells = len(model._publication._known)
    step(model)
    state = {name: (id(tensor), tensor.clone()) for name, tensor in module.state_dict(keep_vars=True).items()}
    module.note = [3]
    if at.startswith("rebuild"):
        module.register_buffer("another", torch.ones(3))

    def fail(*args: Any, **kwds: Any) -> Any:
        raise kind

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(*STEPS[at], fail)
            with pytest.raises(kind):
                model.sync()
        assert torch.equal(model.inference_model.infer(X), old)
        assert model.inference_model.version == 2
        for name, tensor in module.state_dict(keep_vars=True).items():
            if name in state:
                assert id(tensor) == state[name][0]
                assert torch.equal(tensor, state[name][1])
        assert len(model._publication._known) == shells
    model._publication.check_invariants()
    stats = model.publish_stats()
    assert (stats.snapshot_bytes, stats.transient_bytes) == (rest.snapshot_bytes, rest.transient_bytes)
    for _ in range(4):
        model.sync()
        assert_serves(model)
        with model.inference_model.unwrap() as served:
            assert served.note == [3]
        step(model)
    assert model.publish_stats().transient_bytes == 0
    assert len(model._publication._known) == shells


@pytest.mark.parametrize("rebuild", [False, True])
def test_an_interrupt_right_after_publication_leaves_the_new_version(publish: PublishMode, rebuild: bool) -> None:
    model = TorchTrainingModel(Net(), publish=publish)
    model.sync()
    publication = model._publication
    publisher = publication._publisher

    class Interrupted:
        """Ctrl-C is noticed once the call is done."""

        def __getattr__(self, name: str) -> Any:
            return getattr(publisher, name)

        def publish(self, *args: Any) -> None:
            if publisher.publish(*args):
                raise KeyboardInterrupt

        def start(self, *args: Any) -> None:
            publisher.start(*args)
            raise KeyboardInterrupt

    for _ in range(5):
        step(model)
        if rebuild:
            model.model.head = nn.Linear(8, 4)
        publication._publisher = Interrupted()  # type: ignore[assignment]
        try:
            with pytest.raises(KeyboardInterrupt):
                model.sync()
        finally:
            publication._publisher = publisher
        publication.check_invariants()
        assert_serves(model)
    for _ in range(3):
        step(model)
        model.sync()
        assert_serves(model)
    assert len(publication._shells) == 1
    assert model.publish_stats().transient_bytes == 0


MEMORY_RUNS_OUT = """
    import contextlib, resource, torch
    from torch import nn
    from pamiq_storm.torch import TorchTrainingModel

    torch.set_num_threads(1)
    x, one = torch.ones(1, 1024), 10 << 22

    def used():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()

    def out_of_memory(publish):
        model = TorchTrainingModel(
            nn.Sequential(*[nn.Linear(1024, 1024, bias=False) for _ in range(10)]), publish=publish
        )
        inference = model.inference_model
        for _ in range(4):
            model.sync()

        def change():
            with torch.no_grad():
                for parameter in model.model.parameters():
                    parameter.add_(1)

        failed, outputs = 0, []
        with contextlib.ExitStack() as stack:
            for _ in range(3):  # in any mode the next version needs new memory
                held = stack.enter_context(inference.unwrap(inference_mode=False))
                outputs.append((held, held(x).detach()))
                change()
                model.sync()
            held = stack.enter_context(inference.unwrap(inference_mode=False))
            outputs.append((held, held(x).detach()))
            change()
            changed = [p.clone() for p in model.model.parameters()]
            soft, hard = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (used() + one // 2, hard))
            for _ in range(3):
                try:
                    model.sync()
                except (RuntimeError, MemoryError):
                    failed += 1
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
            assert failed == 3, failed
            assert inference.version == 7, inference.version
            assert torch.equal(inference.infer(x), outputs[-1][1])
            assert all(map(torch.equal, model.model.parameters(), changed))
            model._publication.check_invariants()
            model.sync()
            assert torch.equal(inference.infer(x), model.model(x).detach())
            for held, output in outputs:
                assert torch.equal(held(x).detach(), output)
        del held, outputs
        stats = model.publish_stats()
        assert stats.transient_bytes == 0, stats
        assert stats.snapshot_bytes == (one if publish == "swap" else 2 * one), stats
        model.sync()
        assert torch.equal(inference.infer(x), model.model(x).detach())
        print(publish)

    out_of_memory("swap")
    out_of_memory("copy")
"""


def test_a_sync_without_memory_changes_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEMORY_RUNS_OUT)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "swap\ncopy\n", done.stderr


def test_growing_and_shrinking_leaves_no_old_memory(publish: PublishMode) -> None:
    model = TorchTrainingModel(nn.Sequential(nn.Linear(4, 4)), publish=publish)
    for width in (64, 128, 32, 4):
        model.model[0] = nn.Linear(4, width)
        for _ in range(4):
            model.sync()
            assert_serves(model)
        copies = {"swap": 1, "copy": 2}[publish]
        assert model.publish_stats().snapshot_bytes == copies * storage_bytes(model.model)
