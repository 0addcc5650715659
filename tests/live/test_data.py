"""Data on their way from collectors to trainers."""

import math
import threading
import warnings
from pathlib import Path

import pytest

from pamiq_storm.live import DataBuffer, DataUser, DataUsersDict, SequentialBuffer
from pamiq_storm.live.clock import Clock, system_clock

from .parts import PATIENCE_S, Adder


def test_the_buffer_keeps_the_newest_in_order() -> None:
    buffer = SequentialBuffer[int](3)
    for number in range(5):
        buffer.add(number)
    assert buffer.get_data() == [2, 3, 4]
    assert len(buffer) == buffer.max_size == buffer.max_queue_size == 3


def test_a_saved_buffer_comes_back_and_a_smaller_one_takes_the_newest(tmp_path: Path) -> None:
    buffer = SequentialBuffer[int](3)
    for number in range(3):
        buffer.add(number)
    buffer.save_state(tmp_path / "buffer")
    smaller = SequentialBuffer[int](2)
    smaller.load_state(tmp_path / "buffer")
    smaller.add(9)
    assert smaller.get_data() == [2, 9]


def test_a_queue_without_bound_warns_and_a_negative_bound_is_refused() -> None:
    class Sink(DataBuffer[int, int]):
        def add(self, data: int) -> None: ...
        def get_data(self) -> int: ...
        def __len__(self) -> int: ...

    with pytest.warns(RuntimeWarning, match="without bound"):
        Sink()
    with pytest.raises(ValueError, match="from 0, got -1"):
        Sink(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Sink(0)


def test_data_reach_the_buffer_with_an_update() -> None:
    user = DataUser(SequentialBuffer[int](10))
    user._collector.collect(1)
    assert len(user) == 0
    user.update()
    assert len(user) == 1
    user._collector.collect(2)
    assert user.get_data() == [1, 2]


def test_every_datum_counts_as_new_exactly_once_while_another_thread_collects() -> None:
    total = 20_000
    users = DataUsersDict.from_data_buffers(data=SequentialBuffer[int](total))
    collector = users.data_collectors_dict.acquire("data")
    trainer = Adder("data", new=1)
    trainer.attach_data_users(users)

    def collect() -> None:
        for number in range(total):
            collector.collect(number)

    thread = threading.Thread(target=collect)
    thread.start()
    counted, last = 0, -math.inf
    while True:
        over = not thread.is_alive()
        before = trainer._previous_training_time
        if trainer.is_trainable():
            counted += users["data"].count_data_added_since(before)
            assert trainer._previous_training_time > last
            last = trainer._previous_training_time
        elif over:
            break
    thread.join(PATIENCE_S)
    assert counted == total


def test_data_of_one_instant_are_new_after_an_update_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds since the epoch as a float stand still for a quarter of a microsecond."""
    monkeypatch.setattr(Clock, "time", lambda _: 1e9)
    user = DataUser(SequentialBuffer[int](10))
    user._collector.collect(1)
    user.update()
    first = user.updated_at
    user._collector.collect(2)
    user.update()
    assert user.count_data_added_since(first) == 1
    assert user.count_data_added_since(-math.inf) == 2


def test_a_collector_belongs_to_one_agent() -> None:
    collectors = DataUsersDict.from_data_buffers({"a": SequentialBuffer[int](1)}).data_collectors_dict
    collectors.acquire("a")
    with pytest.raises(KeyError, match="'a' is already acquired"):
        collectors.acquire("a")
    with pytest.raises(KeyError, match="no data collector 'b'; there are: 'a'"):
        collectors.acquire("b")


def test_saved_data_come_back_with_their_times_and_what_waited_is_saved_too(tmp_path: Path) -> None:
    users = DataUsersDict.from_data_buffers(a=SequentialBuffer[int](5))
    users["a"]._collector.collect(1)
    users["a"].update()
    between = users["a"].updated_at
    users["a"]._collector.collect(2)
    users.save_state(tmp_path / "data")

    loaded = DataUsersDict.from_data_buffers(a=SequentialBuffer[int](5))
    loaded.load_state(tmp_path / "data")
    assert loaded["a"].get_data() == [1, 2]
    assert loaded["a"].count_data_added_since(between) == 1


def test_time_goes_on_where_it_was_saved(tmp_path: Path) -> None:
    clock = Clock()
    before = clock.time()
    clock.save_state(tmp_path / "time")
    later = Clock()
    later._offset += 1e6
    later.load_state(tmp_path / "time")
    assert before <= later.time() < before + 1e5
    assert abs(system_clock().time() - before) < 1e5


@pytest.mark.parametrize(("size", "new", "trainable"), [(0, 0, True), (3, 0, True), (4, 0, False), (0, 4, False)])
def test_a_trainer_trains_when_its_data_suffice(size: int, new: int, trainable: bool) -> None:
    users = DataUsersDict.from_data_buffers(a=SequentialBuffer[int](5))
    for number in range(3):
        users["a"]._collector.collect(number)
    trainer = Adder()
    Adder.__init__(trainer, "a", new)
    trainer._min_buffer_size = size
    trainer.attach_data_users(users)
    assert trainer.is_trainable() is trainable
