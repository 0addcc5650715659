"""Live models on an accelerator: who waits for whom, and whose memory is whose while the device is late."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from pamiq_storm import _C, OffloadConfig, sim
from pamiq_storm.torch import PublishMode, TorchTrainingModel, inference_stream
from tests.machine import needs_control

WIDTH = 32


def network(device: str, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH)]
    return nn.Sequential(*layers).to(device)


def batch(seed: int) -> Tensor:
    return torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(seed))


class Live:
    """A live model, its optimizer and what each version must answer."""

    def __init__(self, device: str, publish: str, **options: object) -> None:
        self.device = device
        self.model = TorchTrainingModel(network(device), publish=publish, **options)  # pyright: ignore
        self.inference = self.model.inference_model
        self.optimizer = torch.optim.SGD(self.model.model.parameters(), lr=0.05)
        self.question = batch(99)
        self.lessons = [
            batch(seed).to(device) for seed in range(60)
        ]  # a copy from pageable memory waits for its stream

    def train(self, seed: int) -> None:
        self.model(self.lessons[seed]).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def expected(self) -> Tensor:
        """What the training side's values answer, computed apart."""
        twin = network(self.device).eval()
        twin.load_state_dict(self.model.model.state_dict())
        with torch.no_grad():
            return twin(self.question.to(self.device)).cpu()

    def answer(self) -> Tensor:
        return self.inference(self.question).cpu()

    def answer_alone(self) -> Tensor:
        """Without waiting for any other stream."""
        stream = inference_stream(self.device)
        assert stream is not None
        with stream:
            return self.inference(self.question).cpu()


@pytest.fixture(params=["swap", "copy"])
def live(device: str, request: pytest.FixtureRequest) -> Iterator[Live]:
    made = Live(device, request.param)
    yield made
    torch.accelerator.synchronize()
    publication = made.model._publication
    assert publication is not None
    publication.check_invariants()


@pytest.fixture
def simulated(device: str) -> str:
    needs_control("holds streams")
    return device


def default_stream() -> torch.Stream:
    return torch.accelerator.current_stream()


def test_each_version_is_what_training_held_when_it_was_published(live: Live) -> None:
    assert torch.equal(live.answer(), live.expected())
    for seed in range(5):
        before = live.answer()
        live.train(seed)
        assert torch.equal(live.answer(), before)
        live.model.sync()
        torch.accelerator.synchronize()
        assert torch.equal(live.answer(), live.expected())
        assert live.inference.version == seed + 1


def test_inference_does_not_wait_for_training(live: Live, simulated: str) -> None:
    before = live.answer()
    with sim.hold(default_stream()):  # training cannot go on: who waited for it would wait for ever
        live.train(0)
        assert torch.equal(live.answer_alone(), before)


def test_sync_waits_for_nothing_and_the_old_version_is_served_until_the_new_one_is_there(
    live: Live, simulated: str
) -> None:
    for seed in range(3):
        before = live.answer()
        with sim.hold(default_stream()):
            live.train(seed)
            live.model.sync()
            assert live.inference.version == seed
            assert torch.equal(live.answer_alone(), before)
        torch.accelerator.synchronize()
        assert live.inference.version == seed + 1
        assert torch.equal(live.answer(), live.expected())


def test_a_sync_that_finds_the_values_there_serves_them_at_once_and_without_a_third_copy(device: str) -> None:
    live = Live(device, "swap")
    live.answer()
    for seed in range(20):
        live.train(seed)
        torch.accelerator.synchronize()
        live.model.sync()
        assert live.inference.version == seed + 1
        torch.accelerator.synchronize()
    assert live.model.publish_stats().peak_transient_bytes == 0


def test_versions_overtaken_while_the_device_was_late_are_never_served(live: Live, simulated: str) -> None:
    with sim.hold(default_stream()):
        for seed in range(4):
            live.train(seed)
            live.model.sync()
        assert live.inference.version == 0
    torch.accelerator.synchronize()
    assert live.inference.version == 4
    assert torch.equal(live.answer(), live.expected())
    assert live.model.publish_stats().transient_bytes == 0


def test_memory_that_a_late_inference_reads_is_not_used_again(live: Live, simulated: str) -> None:
    stream = inference_stream(live.device)
    assert stream is not None
    expected = live.expected()
    question = live.question.to(live.device)
    with sim.hold(stream):
        with stream:
            late = live.inference(question)
        for seed in range(6):  # poison and other versions would show
            live.train(seed)
            live.model.sync()
            default_stream().synchronize()
    with stream:
        assert torch.equal(late.cpu(), expected)


def test_training_gets_no_memory_that_a_late_inference_reads(live: Live, simulated: str) -> None:
    """What training computed is there at each sync, so that memory could change hands at once."""
    stream = inference_stream(live.device)
    assert stream is not None
    expected = live.expected()
    question = live.question.to(live.device)
    with sim.hold(stream):
        with stream:
            late = live.inference(question)
        for seed in range(4):
            live.train(seed)
            default_stream().synchronize()
            live.model.sync()
            default_stream().synchronize()
    with stream:
        assert torch.equal(late.cpu(), expected)


def test_a_reader_who_comes_and_goes_while_a_sync_decides_is_noticed(
    live: Live, simulated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after the served version was found free and leaves before memory changes hands; the device is late."""
    stream = inference_stream(live.device)
    publication = live.model._publication
    assert stream is not None
    assert publication is not None
    expected = live.expected()
    question = live.question.to(live.device)
    decide = publication._if_free
    late: list[Tensor] = []

    def decide_and_be_read() -> object:
        free = decide()
        assert free is not None
        with stream:
            late.append(live.inference(question))
        return free

    live.train(0)
    default_stream().synchronize()
    with sim.hold(stream):
        with monkeypatch.context() as patched:
            patched.setattr(publication, "_if_free", decide_and_be_read)
            live.model.sync()
        default_stream().synchronize()
    with stream:
        assert torch.equal(late[0].cpu(), expected)
    assert live.inference.version == 1
    filler = [torch.full((WIDTH, WIDTH), 7.0, device=live.device) for _ in range(20)]  # in whatever was freed
    assert torch.equal(live.answer(), live.expected())
    live.train(1)
    assert all((f == 7).all() for f in filler)


def test_training_goes_on_behind_the_copy_that_fills_its_memory(live: Live, simulated: str) -> None:
    """Or behind the copy that reads it, where memory stays where it is."""
    alone = Live(simulated, "swap")
    publication = _C.publish_streams(torch.device(simulated, 0))[1]
    for seed in range(3):
        for wait in (False, True):  # memory that is new, and that of the version served so far
            live.train(seed)
            if wait:
                default_stream().synchronize()
            with sim.hold(publication):  # what did not wait would be done before the copy
                live.model.sync()
                live.train(seed + 30)
                live.answer_alone()
            torch.accelerator.synchronize()
            alone.train(seed)
            assert torch.equal(live.answer(), alone.expected())
            alone.train(seed + 30)
    for (name, a), b in zip(
        live.model.model.state_dict().items(), alone.model.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a.cpu(), b.cpu()), name


@pytest.mark.parametrize("publish", ["swap", "copy"])
def test_readers_of_the_first_version_wait_for_it(simulated: str, publish: PublishMode) -> None:
    stream = inference_stream(simulated)
    assert stream is not None
    net, question = network(simulated), batch(99).to(simulated)
    with torch.no_grad():
        expected = net.eval()(question).cpu()
        with stream:
            question.sum().cpu()  # its thread runs
    with sim.hold(_C.publish_streams(torch.device(simulated, 0))[1]):  # the copy that fills it
        inference = TorchTrainingModel(net, publish=publish).inference_model
        with stream:
            early = inference(question)
            answered = stream.record_event()
            for _ in range(50):  # longer than an answer takes
                inference(question)
                assert not answered.query()
    with stream:
        assert torch.equal(early.cpu(), expected)


def test_results_are_ready_on_the_callers_stream(live: Live, simulated: str) -> None:
    expected = live.expected()
    stream = inference_stream(live.device)
    assert stream is not None
    question = live.question.to(live.device)
    with sim.stall(stream, 50):
        doubled = live.inference(question) * 2
        del question
        filler = [torch.full((8, WIDTH), 7.0, device=live.device) for _ in range(50)]
    assert torch.equal(doubled.cpu(), expected * 2)
    assert all((f == 7).all() for f in filler)


def test_what_unwrap_computes_is_ready_too(live: Live) -> None:
    question = live.question.to(live.device)
    with live.inference.unwrap() as module:
        inside = module(question)
    assert torch.equal((inside + 1).cpu(), live.expected() + 1)


def test_gradients_of_a_version_stay_with_it(live: Live) -> None:
    live.train(0)
    with live.inference.unwrap(inference_mode=False) as module:
        module(live.question.to(live.device)).sum().backward()
        assert all(p.grad is not None for p in module.parameters())
    for _ in range(3):
        live.model.sync()
        torch.accelerator.synchronize()
    assert all(p.grad is None for p in live.model.model.parameters())
    with live.inference.unwrap(inference_mode=False) as module:
        assert all(p.grad is None for p in module.parameters())


def test_training_with_syncs_is_bit_identical_to_training_without(device: str, live: Live) -> None:
    alone = Live(device, "swap", has_inference_model=True)
    for seed in range(12):
        live.train(seed)
        live.model.sync()
        alone.train(seed)
    for (name, a), b in zip(
        live.model.model.state_dict().items(), alone.model.model.state_dict().values(), strict=True
    ):
        assert torch.equal(a.cpu(), b.cpu()), name


@pytest.mark.parametrize("publish", ["swap", "copy"])
def test_no_schedule_changes_a_number(simulated: str, publish: str) -> None:
    def run() -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
        live = Live(simulated, publish)
        certain: list[Tensor] = []
        either: list[tuple[Tensor, Tensor]] = []
        for step in range(4):
            live.train(step)
            live.model.sync()
            torch.accelerator.synchronize()
            certain.append(live.answer())
            live.train(step + 50)
            live.model.sync()  # the device may have finished it when the next line reads, or not
            early = live.answer_alone()
            torch.accelerator.synchronize()
            either.append((early, live.answer()))
        return certain + list(live.model.model.state_dict().values()), either

    expected, possible = run()
    for seed in range(15):
        with sim.fuzz(seed, "300us"):
            found, early = run()
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True)), f"sim.fuzz({seed})"
        for old, (answer, later), (_, newest) in zip(expected, early, possible, strict=False):
            assert torch.equal(later, newest), f"sim.fuzz({seed})"
            assert torch.equal(answer, old) or torch.equal(answer, newest), f"torn under sim.fuzz({seed})"


def test_a_reader_sees_one_version_whatever_the_schedule(simulated: str) -> None:
    """All parameters hold the number of their version, so that a mix of two would show."""
    model = nn.ParameterList([nn.Parameter(torch.zeros(256)) for _ in range(16)]).to(simulated)

    def gather(parameters: nn.ParameterList) -> Tensor:
        return torch.stack([p.amin() for p in parameters] + [p.amax() for p in parameters])

    for seed in range(10):
        live = TorchTrainingModel(model, inference_procedure=gather)
        inference = live.inference_model
        with torch.no_grad():
            for parameter in model:
                parameter.fill_(0)
        live.sync()
        torch.accelerator.synchronize()
        seen: list[Tensor] = []
        stop = threading.Event()

        def read(inference=inference, seen=seen, stop=stop) -> None:
            with inference_stream(simulated):  # pyright: ignore
                while not stop.is_set():
                    seen.append(inference().cpu())

        with sim.fuzz(seed, "200us"):
            reader = threading.Thread(target=read)
            reader.start()
            for version in range(1, 8):
                with torch.no_grad():
                    for parameter in model:
                        parameter.fill_(version)
                live.sync()
            torch.accelerator.synchronize()
            stop.set()
            reader.join()
        values = [s.unique() for s in seen]
        assert all(len(v) == 1 for v in values), f"torn under sim.fuzz({seed})"
        assert [float(v) for v in values] == sorted(float(v) for v in values)


def test_two_copies_at_rest_or_three(live: Live) -> None:
    one = sum(t.untyped_storage().nbytes() for t in live.model.model.state_dict().values())
    for seed in range(4):
        live.train(seed)
        live.model.sync()
    torch.accelerator.synchronize()
    stats = live.model.publish_stats()
    assert stats.snapshot_bytes == one * (1 if live.model._publish == "swap" else 2)
    assert stats.transient_bytes == 0


def test_memory_comes_back_after_a_late_version(live: Live, simulated: str) -> None:
    for seed in range(3):
        live.train(seed)
        live.model.sync()
        torch.accelerator.synchronize()
    live.model.publish_stats()
    before = torch.accelerator.memory_allocated()
    with sim.hold(default_stream()):
        live.train(7)
        live.model.sync()
        stats = live.model.publish_stats()
    assert stats.transient_bytes > 0
    torch.accelerator.synchronize()
    assert live.model.publish_stats().transient_bytes == 0
    torch.accelerator.synchronize()
    assert torch.accelerator.memory_allocated() == before


def test_a_sync_that_finds_no_memory_changes_nothing(live: Live, simulated: str) -> None:
    """Every allocation of a sync fails once, while a reader holds the first version."""
    publication = live.model._publication
    assert publication is not None
    pinned = publication.pin()
    question = live.question.to(live.device)

    def values() -> list[Tensor]:
        return [tensor.detach().cpu() for tensor in live.model.model.state_dict().values()]

    def held_answer() -> Tensor:
        with torch.inference_mode():
            return publication.module_of(pinned)(question).cpu()

    held = held_answer()
    failed = 0
    for nth in range(1, 12):
        others = [publication.pin()]
        live.model.sync()
        others.append(publication.pin())  # so that there is no memory to use again
        live.train(nth)
        torch.accelerator.synchronize()
        before, version, answer = values(), live.inference.version, live.answer()
        with sim.inject(allocation=nth) as counts, contextlib.suppress(torch.OutOfMemoryError):
            live.model.sync()
        if counts.allocation:
            failed += 1
            assert live.inference.version == version
            assert torch.equal(live.answer(), answer)
        assert all(torch.equal(a, b) for a, b in zip(before, values(), strict=True))
        for other in others:
            publication.unpin(other)
        torch.accelerator.synchronize()
        live.model.sync()
        torch.accelerator.synchronize()
        assert torch.equal(live.answer(), live.expected())
        assert torch.equal(held_answer(), held)
    assert failed > 0
    publication.unpin(pinned)


def test_the_engine_moves_no_parameter_or_buffer_after_a_sync(device: str, config: OffloadConfig) -> None:
    """Its set of storages that stay is made when the context is entered; a sync inside must not change it."""
    live = Live(device, "swap", offload=config)
    storm = live.model._offload
    assert storm is not None
    plain = Live(device, "swap")
    for seed in range(4):
        x = batch(seed).to(device).requires_grad_()
        loss = live.model(x).square().mean()
        live.model.sync()  # between forward and backward
        loss.backward()
        y = batch(seed).to(device).requires_grad_()
        plain.model(y).square().mean().backward()
        assert x.grad is not None
        assert y.grad is not None
        assert torch.equal(x.grad.cpu(), y.grad.cpu())
        for (name, a), b in zip(live.model.model.named_parameters(), plain.model.model.parameters(), strict=True):
            assert a.grad is not None
            assert b.grad is not None
            assert torch.equal(a.grad.cpu(), b.grad.cpu()), name
        for each in (live, plain):
            each.optimizer.step()
            each.optimizer.zero_grad()
    parameters = sum(p.nbytes for p in live.model.model.parameters())
    assert storm.stats().kept_parameter_tensors > 0
    assert storm.stats().offloaded_bytes < parameters * 4


def test_the_streams_are_nobody_elses(device: str, config: OffloadConfig) -> None:
    from pamiq_storm import StormSystem

    system = StormSystem(device, config)
    stream = inference_stream(device)
    assert stream is not None
    assert stream == inference_stream(device)
    assert stream not in (*system.streams, torch.accelerator.current_stream())
    assert inference_stream("cpu") is None
    system.close()
