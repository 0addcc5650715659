"""The engine against no engine: graphs made, differentiated and dropped in any order, faults included."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from torch import Tensor

from pamiq_storm import OffloadConfig, offload, sim
from tests.machine import DEVICE, needs_control

from ..races.observe import racing
from .budget import Counting, budget
from .programs import Program, gradients, in_a_thread, on_host, same_bits, side_streams

pytestmark = pytest.mark.filterwarnings("ignore:The AccumulateGrad node's stream")

CONFIGS = [
    OffloadConfig(min_bytes=512, window_bytes=0, prefetch_bytes=0, keep_last_bytes=0, slab_bytes="64KiB"),
    OffloadConfig(min_bytes=512, window_bytes="4KiB", prefetch_bytes="4KiB", keep_last_bytes="4KiB", slab_bytes="4KiB"),
    OffloadConfig(min_bytes=2048, window_bytes="1MiB", prefetch_bytes="1MiB", keep_last_bytes=0, slab_bytes="1MiB"),
    # too small a host: most tensors stay, or wait for others to come back
    OffloadConfig(
        min_bytes=512, window_bytes=0, prefetch_bytes="8KiB", keep_last_bytes=0, slab_bytes="8KiB", host_bytes="16KiB"
    ),
]

programs = st.builds(
    Program,
    seed=st.integers(0, 2**20),
    operations=st.integers(1, 8),
    rows=st.sampled_from([8, 16, 64]),
    columns=st.sampled_from([16, 32]),
    streams=st.sampled_from([1, 1, 2]),
)
bodies = st.sampled_from([lambda body: body(), in_a_thread])
Runner = Callable[[Callable[[], list[Tensor]]], list[Tensor]]


@dataclass
class Graph:
    """One forward with its loss and what its gradients are without us."""

    loss: Tensor
    leaves: list[Tensor]
    expected: list[Tensor]


class EngineMachine(Counting, RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        gc.collect()
        torch.accelerator.synchronize()
        self.bytes_before = torch.accelerator.memory_allocated()
        self.streams = side_streams()
        # each its own engine: a machine must not find what another one left behind
        self.configs = [replace(c, measure_stalls=i % 2 == 0) for i, c in enumerate(CONFIGS)]
        self.contexts = [offload(None, config, device=DEVICE) for config in self.configs]
        self.graphs: list[Graph] = []

    def teardown(self) -> None:
        if sys.exc_info()[0] is not None:  # a step failed: that is the news
            return
        while self.graphs:
            self.differentiate(self.graphs.pop(), False, lambda body: body())
        gc.collect()
        torch.accelerator.synchronize()
        for context in self.contexts:
            assert context.stats().host_bytes == 0
            context.system._engine.check_invariants()
            context.close()
        gc.collect()
        torch.accelerator.synchronize()
        assert torch.accelerator.memory_allocated() == self.bytes_before

    # ------------------------------------------------------------------ rules

    @rule(program=programs, which=st.integers(0, len(CONFIGS) - 1))
    def save(self, program: Program, which: int) -> None:
        self.graphs.append(self.forward(program, which))

    @rule(
        program=programs,
        which=st.tuples(st.integers(0, len(CONFIGS) - 1), st.integers(0, len(CONFIGS) - 1)),
    )
    def save_within_another(self, program: Program, which: tuple[int, int]) -> None:
        with self.contexts[which[0]]:
            self.graphs.append(self.forward(program, which[1]))

    @precondition(lambda self: self.graphs)
    @rule(data=st.data(), retain=st.booleans(), run=bodies)
    def fetch(self, data: st.DataObject, retain: bool, run: Runner) -> None:
        i = data.draw(st.integers(0, len(self.graphs) - 1))
        self.differentiate(self.graphs[i] if retain else self.graphs.pop(i), retain, run)

    @precondition(lambda self: self.graphs)
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        self.graphs.pop(data.draw(st.integers(0, len(self.graphs) - 1)))

    @rule(program=programs, which=st.integers(0, len(CONFIGS) - 1), size=st.sampled_from([4, 64]))
    def change_in_place(self, program: Program, which: int, size: int) -> None:
        leaf = torch.ones(size, size).to(DEVICE).requires_grad_()
        with self.contexts[which]:
            saved = leaf * 2.0
            loss = (saved * saved).sum()
            with torch.no_grad(), racing():  # with the copy, whose result nobody will get
                saved.add_(1.0)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            gradients(loss, [leaf])

    @rule(which=st.integers(0, len(CONFIGS) - 1))
    def trim(self, which: int) -> None:
        self.contexts[which].system.trim()

    @rule(which=st.integers(0, len(CONFIGS) - 1))
    def close(self, which: int) -> None:
        self.contexts[which].close()
        with pytest.raises(RuntimeError, match="is closed"), self.contexts[which]:
            pass
        self.contexts[which] = offload(None, self.configs[which], device=DEVICE)

    @rule(program=programs, which=st.integers(0, len(CONFIGS) - 1), nth=st.integers(1, 4))
    def pinning_fails(self, program: Program, which: int, nth: int) -> None:
        """Pageable memory is slower, not different."""
        self.contexts[which].system.trim()
        with sim.inject(pinned=nth):
            graph = self.forward(program, which)
            self.differentiate(graph, False, lambda body: body())

    @rule(
        program=programs,
        which=st.integers(0, len(CONFIGS) - 1),
        nth=st.integers(1, 40),
        kind=st.sampled_from(["allocation", "copy", "task", "lose_device"]),
        backward_only=st.booleans(),
    )
    def something_fails(self, program: Program, which: int, nth: int, kind: str, backward_only: bool) -> None:
        """It is an error, or nothing has happened: never other gradients. And the next graphs are right."""
        expected = self.expected(program)
        leaves = program.leaves(DEVICE)
        torch.accelerator.synchronize()
        before = self.forward_of(program, which, leaves) if backward_only else None
        torch.accelerator.synchronize()
        got, counts, reported = None, None, None
        try:
            with sim.inject(**{kind: nth}) as counts:
                try:
                    loss = before if before is not None else self.forward_of(program, which, leaves)
                    got = on_host([loss, *gradients(loss, leaves)])
                finally:
                    torch.accelerator.synchronize()
        except RuntimeError as error:
            got, reported = None, error
        if reported is not None:
            assert getattr(counts, kind) == 1, f"nothing was made to fail, and yet: {reported!r}"
        del before
        if got is not None:
            assert same_bits(got, expected)

    # ------------------------------------------------------------------ what holds after each

    @invariant()
    def the_books_are_right(self) -> None:
        for context, config in zip(self.contexts, self.configs, strict=True):
            context.system._engine.check_invariants()
            stats = context.stats()
            if config.host_bytes is not None:
                assert stats.peak_reserved_host_bytes <= 16 * 1024
            assert stats.host_bytes <= stats.peak_host_bytes

    # ------------------------------------------------------------------ helpers

    def forward_of(self, program: Program, which: int, leaves: list[Tensor]) -> Tensor:
        with self.contexts[which]:
            return program.loss(leaves, self.streams)

    def expected(self, program: Program) -> list[Tensor]:
        leaves = program.leaves(DEVICE)
        loss = program.loss(leaves, self.streams)
        return on_host([loss, *gradients(loss, leaves)])

    def forward(self, program: Program, which: int) -> Graph:
        leaves = program.leaves(DEVICE)
        return Graph(self.forward_of(program, which, leaves), leaves, self.expected(program))

    def differentiate(self, graph: Graph, retain: bool, run: Runner) -> None:
        got = run(lambda: gradients(graph.loss, graph.leaves, retain))
        assert same_bits(on_host([graph.loss, *got]), graph.expected)


@pytest.mark.timeout(0 if budget(1).max_examples > 1 else 300)
def test_the_engine_changes_nothing(device: str, say_at_the_end: Callable[[str], None]) -> None:
    needs_control("makes calls fail")
    run_state_machine_as_test(EngineMachine, settings=budget(35, steps=15))
    say_at_the_end(EngineMachine.said())
