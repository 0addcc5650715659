"""Which architectures a binary holds is read from its bytes."""

import struct
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import fatbin  # noqa: E402
from build_support import CUDA_ARCHITECTURES  # noqa: E402

PTX, CODE = 1, 2


def entry(kind: int, architecture: int, payload: bytes = b"code", header: int = 64) -> bytes:
    head = struct.pack("<HHIQIIII", kind, 257, header, len(payload), 0, 0, 65544, architecture)
    return head.ljust(header, b"\0") + payload


def fat(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def test_every_entry_of_every_fat_binary_is_found():
    binary = b"ELF" + fat(entry(CODE, 80), entry(CODE, 90, b"x" * 1000)) + b"between" + fat(entry(PTX, 120, header=72))
    assert fatbin.architectures(binary) == {"sm_80", "sm_90", "compute_120"}


@pytest.mark.parametrize("binary", [b"", b"no kernel", struct.pack("<I", 0xBA55ED50), fat(), fat(b"not an entry" * 9)])
def test_what_holds_no_kernel_has_no_architecture(binary: bytes):
    assert fatbin.architectures(binary) == set()


def test_the_list_of_architectures_is_understood():
    expected = {"sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "compute_120"}
    assert fatbin.wanted(CUDA_ARCHITECTURES) == expected


def test_missing_architectures_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "some.so").write_bytes(fat(entry(CODE, 80), entry(CODE, 100)))
    assert fatbin.main([str(tmp_path / "some.so")], "8.0;10.0") is None
    assert capsys.readouterr().out == "kernels for sm_80, sm_100\n"
    said = fatbin.main([str(tmp_path / "some.so")], "8.0;9.0+PTX")
    assert said is not None
    assert said.startswith("no kernels for compute_90, sm_90 in ")
