"""What has its final name is whole; the newest is found; old ones go."""

import threading
from pathlib import Path

import pytest

from pamiq_storm.live.checkpoints import CheckpointStore

from ..programs import run_program
from .parts import PATIENCE_S


def saver(text: str):
    def save(folder: Path) -> None:
        (folder / "part").mkdir()
        (folder / "part" / "file").write_text(text)

    return save


def content(path: Path | None) -> str:
    assert path is not None
    return (path / "part" / "file").read_text()


def test_the_newest_is_found_whatever_the_clock_says(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "states")
    assert store.newest() is None
    for text in "abc":
        store.write(saver(text))
    assert [content(path) for path in store.paths()] == ["a", "b", "c"]
    (tmp_path / "states" / "00000100_1970-01-01_00-00-00.state").mkdir()
    assert store.newest() == tmp_path / "states" / "00000100_1970-01-01_00-00-00.state"
    assert content(store.write(saver("d"))) == "d"
    assert content(store.newest()) == "d"


def test_old_ones_go(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, max_keep=2)
    for text in "abcd":
        store.write(saver(text))
    assert [content(path) for path in store.paths()] == ["c", "d"]
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == [".", "0", "0"], "the lock file and two checkpoints"


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    kept = store.write(saver("a"))

    def fails(folder: Path) -> None:
        saver("b")(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.write(fails)
    assert store.paths() == [kept]
    assert not list(tmp_path.glob("*.tmp"))


def test_two_writers_take_turns(tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()
    order: list[str] = []

    def slow(folder: Path) -> None:
        inside.set()
        assert go_on.wait(PATIENCE_S)
        saver("slow")(folder)
        order.append("slow")

    def fast(folder: Path) -> None:
        saver("fast")(folder)
        order.append("fast")

    first = threading.Thread(target=CheckpointStore(tmp_path).write, args=(slow,))
    second = threading.Thread(target=CheckpointStore(tmp_path).write, args=(fast,))
    first.start()
    assert inside.wait(PATIENCE_S)
    second.start()
    go_on.set()
    first.join(PATIENCE_S)
    second.join(PATIENCE_S)
    assert order == ["slow", "fast"]
    assert [content(path) for path in CheckpointStore(tmp_path).paths()] == ["slow", "fast"]


def test_a_kill_at_any_step_leaves_only_whole_checkpoints(tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        from pamiq_storm.atomic import write_atomically
        from pamiq_storm.live.checkpoints import CheckpointStore
        from tests.kills import killed_everywhere

        store = CheckpointStore(Path(sys.argv[1]), max_keep=2)

        def write(step):
            def save(folder):
                for number in range(3):
                    write_atomically(folder / f"file{number}", str(step).encode())
            store.write(save)

        def check(step):
            paths = store.paths()
            assert len(paths) in (2, 3), (step, paths)
            for path in paths:
                texts = {(path / f"file{number}").read_text() for number in range(3)}
                assert len(texts) == 1, (step, path, texts)

        write("first")
        write("second")
        print(killed_everywhere(write, check))
    """
    done = run_program(program, tmp_path / "states")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30
    CheckpointStore(tmp_path / "states", max_keep=2).write(saver("last"))
    left = [path.name for path in (tmp_path / "states").iterdir()]
    assert len(left) == 3, f"rubbish stays: {left}"
