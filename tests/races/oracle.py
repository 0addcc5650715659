"""What is a race, told from the whole history of a program: which operations precede which, byte by byte.

Slow and without any cleverness of the detector's: an operation is a bit, knowledge is a set of bits, an access is kept
until its memory has changed hands.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Access:
    operation: int  # its bit
    stream: int
    writes: bool
    places: set[int]


@dataclass
class Oracle:
    """Fed in the order of issue. `races` counts the pairs that nothing orders."""

    races: int = 0
    operations: int = 0
    host: int = 0
    streams: dict[int, int] = field(default_factory=dict)
    accesses: list[Access] = field(default_factory=list)

    def knows(self, stream: int) -> int:
        return self.streams.get(stream, 0) | self.host

    def issue(self, stream: int, reads: Iterable[int], writes: Iterable[int]) -> None:
        bit = 1 << self.operations
        self.operations += 1
        known = self.knows(stream) | bit
        for places, written in ((set(reads), False), (set(writes), True)):
            self.races += self._unordered(places, written, known)
            self.accesses.append(Access(bit, stream, written, places))
        self.streams[stream] = known

    def host_touches(self, places: Iterable[int], writes: bool) -> None:
        self.races += self._unordered(set(places), writes, self.host)

    def record(self, stream: int) -> int:
        return self.knows(stream)

    def wait(self, stream: int, moment: int) -> None:
        self.streams[stream] = self.knows(stream) | moment

    def host_learns(self, moment: int) -> None:
        self.host |= moment

    def change_hands(self, owner: int, places: Iterable[int]) -> None:
        """Device memory was freed, or handed out: whatever `owner` issues next may write to it."""
        known, taken = self.knows(owner), set(places)
        for access in self.accesses:
            if access.stream != owner and not access.operation & known and access.places & taken:
                self.races += 1
                access.places -= taken

    def over(self, places: Iterable[int], moment: int) -> None:
        """The allocator has seen to it that what precedes `moment` no longer concerns this memory."""
        gone = set(places)
        for access in self.accesses:
            if access.operation & moment:
                access.places -= gone

    def _unordered(self, places: set[int], writes: bool, known: int) -> int:
        return sum(
            1
            for access in self.accesses
            if (writes or access.writes) and not access.operation & known and access.places & places
        )
