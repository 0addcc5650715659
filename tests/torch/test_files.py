"""Files of tensors are whole, safe to load, and independent of what goes on."""

from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import pytest
import torch

from pamiq_storm.torch import files

from ..programs import run_program


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    values = {
        "a": torch.randn(3, 4),
        "b": torch.randn(5).to(torch.bfloat16),
        "c": torch.arange(3),
        "d": [1, 2.5, "x", None, (True,)],
        "e": Counter([1, 1]),
    }
    files.save(values, tmp_path / "file.pt")
    loaded = files.load(tmp_path / "file.pt")
    for name in "abc":
        assert torch.equal(loaded[name], values[name])
        assert loaded[name].dtype == values[name].dtype
    assert (loaded["d"], loaded["e"]) == (values["d"], values["e"])
    assert torch.equal(torch.load(tmp_path / "file.pt")["a"], values["a"])


def test_a_kill_at_any_byte_leaves_the_old_or_the_new_file(tmp_path: Path) -> None:
    program = """
        import sys
        from pathlib import Path
        import torch
        from pamiq_storm.torch import files
        from tests.kills import killed_everywhere

        torch.set_num_threads(1)
        path = Path(sys.argv[1])
        last = [0]

        def save(step):
            files.save({"step": step, "a": torch.full((1000,), float(step))}, path)

        def check(step):
            found = files.load(path)
            assert found["step"] in (last[0], step), (found["step"], step)
            assert torch.equal(found["a"], torch.full((1000,), float(found["step"])))
            last[0] = found["step"]

        save(0)
        print(killed_everywhere(save, check))
    """
    done = run_program(program, tmp_path / "file.pt")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10, "the archive is written in many pieces"


def test_a_file_cut_off_anywhere_is_refused_by_name(tmp_path: Path) -> None:
    files.save({"a": torch.arange(100)}, tmp_path / "file.pt")
    content = (tmp_path / "file.pt").read_bytes()
    for length in range(0, len(content), 97):
        (tmp_path / "cut.pt").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.pt is no file of tensors"):
            files.load(tmp_path / "cut.pt")


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        files.load(tmp_path / "none.pt")


class Custom:
    pass


def test_what_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    files.save({"a": 1}, tmp_path / "file.pt")
    with pytest.raises(TypeError, match=r"file\.pt was not written: it would hold .*Custom"):
        files.save({"a": Custom()}, tmp_path / "file.pt")
    assert files.load(tmp_path / "file.pt") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["file.pt"]


def test_a_file_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": Custom()}, tmp_path / "file.pt")
    with pytest.raises(ValueError, match="is no file of tensors that can be loaded"):
        files.load(tmp_path / "file.pt")


def test_a_host_copy_shares_nothing_and_keeps_types() -> None:
    tensor = torch.zeros(3, requires_grad=True)
    state = OrderedDict(a=tensor, b=[tensor, {"c": (tensor,)}], d=defaultdict(list, x=[1]), e=Counter("aa"))
    copied = files.host_copy(state)
    with torch.no_grad():
        tensor += 1
    state["d"]["x"].append(2)
    assert type(copied) is OrderedDict
    assert torch.equal(copied["a"], torch.zeros(3))
    assert not copied["a"].requires_grad
    assert copied["a"] is copied["b"][0] is copied["b"][1]["c"][0]
    assert copied["d"]["x"] == [1]
    assert copied["d"]["new"] == []
    assert copied["e"] == Counter("aa")


def test_a_host_copy_is_made_of_finished_work(device: str) -> None:
    stream = torch.Stream(device)
    source = torch.full((256, 256), 1 / 256, device=device)
    stream.wait_stream(torch.accelerator.current_stream())
    with stream:
        result = source
        for _ in range(20):
            result = result @ source
    copied = files.host_copy({"a": result})
    assert copied["a"].device.type == "cpu"
    torch.accelerator.synchronize()
    assert torch.equal(copied["a"], result.cpu())
