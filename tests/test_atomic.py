"""Files are replaced in one step."""

import os
from pathlib import Path

import pytest

from pamiq_storm.atomic import replacing, sync_tree, write_atomically

from .programs import run_program


def test_a_kill_at_any_step_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        from pamiq_storm.atomic import write_atomically
        from tests.kills import killed_everywhere

        path = Path(sys.argv[1])
        allowed = [b"0" * 1000]
        write_atomically(path, allowed[0])

        def write(step):
            write_atomically(path, str(step).encode() * 1000)

        def check(step):
            allowed.append(str(step).encode() * 1000)
            found = path.read_bytes()
            assert found in allowed, (step, found[:20], len(found))
            del allowed[: allowed.index(found)]  # what was replaced does not come back

        print(killed_everywhere(write, check))
    """
    done = run_program(program, tmp_path / "file")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 4


def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "file") as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_content_and_name_are_synced_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    fsync, rename = os.fsync, os.replace

    def synced(handle: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")  # noqa: PTH112
        fsync(handle)

    def replaced(*args: str) -> None:
        calls.append("rename")
        rename(*args)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    write_atomically(tmp_path / "file", b"new")
    assert calls == ["file", "rename", "folder"]


def test_a_tree_is_synced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "file").write_text("x")
    (tmp_path / "file").write_text("x")
    synced: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(Path(f"/proc/self/fd/{handle}").resolve()))
    sync_tree(tmp_path)
    assert set(synced) == {tmp_path, tmp_path / "inner", tmp_path / "file", tmp_path / "inner" / "file"}
