"""Random programs of streams, events, copies and frees: correct by construction, or with one edge taken away.

A program is a list of actions, made without a device. The generator follows who knows what with the oracle and puts
the edges in that are missing, in one of the many ways there are. Running a program feeds an oracle of its own with the
addresses that the allocators really gave.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pamiq_storm import sim
from tests.races.oracle import Oracle

STREAMS = 4
ROWS, COLUMNS = 8, 16
Region = tuple[slice, slice]
WHOLE: Region = (slice(None), slice(None))
ROW_HALVES: list[Region] = [(slice(0, ROWS // 2), slice(None)), (slice(ROWS // 2, ROWS), slice(None))]
COLUMN_PARTS: list[Region] = [(slice(None), slice(k, COLUMNS, 2)) for k in range(2)] + [
    (slice(None), slice(k, k + COLUMNS // 2)) for k in (0, COLUMNS // 2)
]
Kind = Literal["kernel", "d2h", "h2d", "host_read", "host_write"]


@dataclass(frozen=True)
class Touch:
    """An operation: reads `source`, if there is one, and writes `target`, if there is one."""

    kind: Kind
    stream: int
    target: tuple[int, Region] | None
    source: tuple[int, Region] | None


@dataclass(frozen=True)
class Allocate:
    buffer: int
    stream: int  # of the owner; -1 for pinned memory


@dataclass(frozen=True)
class Free:
    buffer: int


@dataclass(frozen=True)
class Edge:
    """What orders: it may be taken away. `moment` is the number of a record, or -1 for now."""

    kind: Literal["wait", "host_stream", "host_event", "host_query", "device", "record_stream"]
    stream: int  # that waits, or that the buffer is recorded on
    other: int  # that is waited for
    moment: int = -1
    buffer: int = -1


@dataclass(frozen=True)
class Record:
    stream: int
    moment: int


Action = Touch | Allocate | Free | Edge | Record


def places_of(region: Region) -> set[int]:
    return {r * COLUMNS + c for r in range(*region[0].indices(ROWS)) for c in range(*region[1].indices(COLUMNS))}


class Generator:
    """Writes one correct program."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.actions: list[Action] = []
        self.oracle = Oracle()
        self.owners: dict[int, int] = {}  # of the buffers alive
        self.moments: list[tuple[int, int]] = []  # stream and what is known there
        self.buffers = 0

    def program(self, steps: int) -> list[Action]:
        for _ in range(3):
            self.allocate(pinned=True)
            self.allocate(pinned=False)
        for _ in range(steps):
            choice = self.rng.random()
            if choice < 0.1:
                self.allocate(pinned=self.rng.random() < 0.3)
            elif choice < 0.2 and len(self.owners) > 4:
                self.free(self.rng.choice(list(self.owners)))
            else:
                self.touch()
        return self.actions

    def allocate(self, pinned: bool) -> None:
        buffer, stream = self.buffers, -1 if pinned else self.rng.randrange(STREAMS)
        self.buffers += 1
        self.owners[buffer] = stream
        self.actions.append(Allocate(buffer, stream))
        if not pinned:  # whoever uses it must come after what its owner did so far
            self.oracle.issue(stream, (), self.places(buffer, WHOLE))

    def free(self, buffer: int) -> None:
        owner = self.owners.pop(buffer)
        if owner >= 0:
            for stream in range(STREAMS):
                unknown = self.unknown_to(self.oracle.knows(owner), self.places(buffer, WHOLE), True)
                if stream == owner or not any(stream == s for s, _ in unknown):
                    continue
                if self.rng.random() < 0.5:
                    self.actions.append(Edge("record_stream", stream, -1, buffer=buffer))
                else:
                    self.order(owner, self.places(buffer, WHOLE), True)
        self.actions.append(Free(buffer))

    def touch(self) -> None:
        rng, stream = self.rng, self.rng.randrange(STREAMS)
        on_device = [b for b, owner in self.owners.items() if owner >= 0]
        on_host = [b for b, owner in self.owners.items() if owner < 0]
        kind: Kind = rng.choices(["kernel", "d2h", "h2d", "host_read", "host_write"], [5, 3, 3, 1, 1])[0]
        if (kind != "kernel" and not on_host) or (kind in ("kernel", "d2h", "h2d") and not on_device):
            return
        dense = rng.choice([WHOLE, *ROW_HALVES])
        target = source = None
        if kind == "kernel":
            region = rng.choice([WHOLE, *ROW_HALVES, *COLUMN_PARTS])
            target, source = (rng.choice(on_device), region), (rng.choice(on_device), region)
            if target == source or rng.random() < 0.3:
                source = None
        elif kind == "d2h":
            target, source = (rng.choice(on_host), dense), (rng.choice(on_device), dense)
        elif kind == "h2d":
            target, source = (rng.choice(on_device), dense), (rng.choice(on_host), dense)
        elif kind == "host_read":
            stream, source = -1, (rng.choice(on_host), dense)
        else:
            stream, target = -1, (rng.choice(on_host), dense)
        for side, writes in ((source, False), (target, True)):
            if side is not None:
                self.order(stream, self.places(*side), writes)
        self.actions.append(Touch(kind, stream, target, source))
        if stream >= 0:
            self.oracle.issue(stream, self.places(*source) if source else (), self.places(*target) if target else ())
            if rng.random() < 0.4:
                self.record(stream)

    def record(self, stream: int) -> int:
        self.moments.append((stream, self.oracle.record(stream)))
        self.actions.append(Record(stream, len(self.moments) - 1))
        return len(self.moments) - 1

    def order(self, stream: int, places: set[int], writes: bool) -> None:
        """Lets `stream`, or the host, know what it has to before it touches `places`."""
        while True:
            known = self.oracle.host if stream < 0 else self.oracle.knows(stream)
            unknown = self.unknown_to(known, places, writes)
            if not unknown:
                return
            other, operation = self.rng.choice(sorted(unknown))
            enough = [m for m, (s, moment) in enumerate(self.moments) if s == other and moment & operation]
            moment = self.rng.choice(enough) if enough and self.rng.random() < 0.7 else -1
            self.edge(stream, other, moment)

    def edge(self, stream: int, other: int, moment: int) -> None:
        rng = self.rng
        knowledge = self.oracle.record(other) if moment < 0 else self.moments[moment][1]
        through_host = stream < 0 or rng.random() < 0.15
        if not through_host:
            self.actions.append(Edge("wait", stream, other, moment))
            self.oracle.wait(stream, knowledge)
        elif rng.random() < 0.1:
            self.actions.append(Edge("device", -1, -1))
            for each in range(STREAMS):
                self.oracle.host_learns(self.oracle.record(each))
        elif moment < 0:
            self.actions.append(Edge("host_stream", -1, other))
            self.oracle.host_learns(knowledge)
        else:
            kind: Any = rng.choice(["host_event", "host_query"])
            self.actions.append(Edge(kind, -1, other, moment))
            self.oracle.host_learns(knowledge)

    def unknown_to(self, known: int, places: set[int], writes: bool) -> set[tuple[int, int]]:
        return {
            (a.stream, a.operation)
            for a in self.oracle.accesses
            if (writes or a.writes) and not a.operation & known and a.places & places
        }

    @staticmethod
    def places(buffer: int, region: Region) -> set[int]:
        return {buffer * ROWS * COLUMNS + p for p in places_of(region)}


class Run:
    """One program on the device, and what an oracle says of it."""

    def __init__(self, actions: list[Action], without: int | None) -> None:
        self.oracle = Oracle()
        self.streams = streams()
        self.events: dict[int, torch.Event] = {}
        self.moments: dict[int, int] = {}
        self.buffers: dict[int, Tensor] = {}
        self.owners: dict[int, int] = {}
        self.recorded: dict[int, list[int]] = {}
        for number, action in enumerate(actions):
            if number != without:
                self.perform(action)

    def perform(self, action: Action) -> None:
        match action:
            case Touch():
                self.touch(action)
            case Allocate(buffer, stream):
                self.allocate(buffer, stream)
            case Free(buffer):
                self.free(buffer)
            case Record(stream, moment):
                self.events[moment] = self.streams[stream].record_event()
                self.moments[moment] = self.oracle.record(stream)
            case Edge():
                self.edge(action)

    def allocate(self, buffer: int, stream: int) -> None:
        if stream < 0:
            self.buffers[buffer] = torch.empty(ROWS, COLUMNS, pin_memory=True)
            self.oracle.over(self.places((buffer, WHOLE)), -1)  # the allocator waited for every copy
        else:
            with self.streams[stream]:
                self.buffers[buffer] = torch.empty(ROWS, COLUMNS, device="sim")
            taken = self.places((buffer, WHOLE))
            self.oracle.change_hands(stream, taken)
        self.owners[buffer] = stream

    def free(self, buffer: int) -> None:
        places = self.places((buffer, WHOLE))
        for stream in self.recorded.pop(buffer, []):
            self.oracle.over(places, self.oracle.record(stream))
        if self.owners[buffer] >= 0:
            self.oracle.change_hands(self.owners[buffer], places)
        del self.buffers[buffer]

    def edge(self, edge: Edge) -> None:
        now = self.oracle.record(edge.other) if edge.other >= 0 else 0
        knowledge = now if edge.moment < 0 else self.moments[edge.moment]
        match edge.kind:
            case "wait" if edge.moment < 0:
                self.streams[edge.stream].wait_stream(self.streams[edge.other])
                self.oracle.wait(edge.stream, knowledge)
            case "wait":
                self.streams[edge.stream].wait_event(self.events[edge.moment])
                self.oracle.wait(edge.stream, knowledge)
            case "record_stream":
                self.buffers[edge.buffer].record_stream(self.streams[edge.stream])
                if self.owners[edge.buffer] != edge.stream:
                    self.recorded.setdefault(edge.buffer, []).append(edge.stream)
            case "host_stream":
                self.streams[edge.other].synchronize()
                self.oracle.host_learns(knowledge)
            case "host_event":
                self.events[edge.moment].synchronize()
                self.oracle.host_learns(knowledge)
            case "host_query":
                while not self.events[edge.moment].query():
                    sim.advance(1e-6)  # the virtual clock moves only if the host does something
                self.oracle.host_learns(knowledge)
            case "device":
                torch.accelerator.synchronize()
                for stream in range(STREAMS):
                    self.oracle.host_learns(self.oracle.record(stream))

    def touch(self, touch: Touch) -> None:
        target, source = touch.target, touch.source
        if touch.stream < 0:
            if target is not None:
                self.view(target).fill_(1)
                self.oracle.host_touches(self.places(target), True)
            if source is not None:
                self.view(source).sum()
                self.oracle.host_touches(self.places(source), False)
            return
        assert target is not None
        with self.streams[touch.stream]:
            if source is None:
                self.view(target).fill_(1)
            else:
                self.view(target).copy_(self.view(source), non_blocking=True)
        self.oracle.issue(touch.stream, self.places(source) if source else (), self.places(target))

    def view(self, side: tuple[int, Region]) -> Tensor:
        return self.buffers[side[0]][side[1]]

    def places(self, side: tuple[int, Region]) -> set[int]:
        begin = self.buffers[side[0]].data_ptr() // 4
        return {begin + p for p in places_of(side[1])}


_streams: list[torch.Stream] = []


def streams() -> list[torch.Stream]:
    """The same for all programs: a device has few."""
    if not _streams:
        _streams.extend(torch.Stream(device="sim") for _ in range(STREAMS))
    return _streams


def removable(actions: list[Action]) -> list[int]:
    return [number for number, action in enumerate(actions) if isinstance(action, Edge)]
