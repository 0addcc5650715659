"""The peers' released code, loaded from their installed packages: one file of each, the one that offloads.

Importing the packages whole would need gigabytes of others that the file does not use. So it is executed by itself.
Names it imports from elsewhere and needs only at the edges (a logger, a version check, the class of a quantised tensor,
the class of a tied head) are stand-ins. Where it insists on CUDA and the device is another, the device's name is
exchanged in the text. Nothing else is changed.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import torch


class PeerMissing(RuntimeError):  # noqa: N818  (not an error of the program: the peer is optional)
    """A peer cannot be measured here; the message says what to do."""


@dataclass(frozen=True)
class Release:
    """Where a package keeps the file, and the names in it that say CUDA."""

    package: str
    path: str
    device_names: Mapping[str, str]
    """What stands in the text, and what stands there instead; `{device}` is the device's type."""


RELEASES = {
    "torchtune": Release(
        "torchtune",
        "torchtune/training/_activation_offloading.py",
        {"torch.cuda.": "torch.{device}.", '"cuda"': '"{device}"'},
    ),
    "trl": Release("trl", "trl/models/activation_offloading.py", {}),
}


def version(name: str) -> str:
    """The installed release of a peer, or why there is none."""
    try:
        return distribution(RELEASES[name].package).version
    except PackageNotFoundError:
        return _missing(name)


def load(name: str, device_type: str) -> ModuleType:
    """The peer's module, working on devices of this type.

    Raises:
        PeerMissing: its package, or psutil which both need, is not installed.
    """
    release = RELEASES[name]
    try:
        file = Path(str(distribution(release.package).locate_file(release.path)))
    except PackageNotFoundError:
        raise PeerMissing(_missing(name)) from None
    if importlib.util.find_spec("psutil") is None:
        raise PeerMissing("not measured: psutil is not installed (pip install 'pamiq-storm[peers]')")
    module = ModuleType(f"pamiq_storm_peer_{name}")
    code = compile(for_device(file.read_text(), release, device_type), str(file), "exec")
    with _stand_ins():
        exec(code, module.__dict__)
    return module


def for_device(text: str, release: Release, device_type: str) -> str:
    """The text with the device's name in the place of CUDA's."""
    if device_type != "cuda":
        for there, instead in release.device_names.items():
            if there not in text:
                raise RuntimeError(f"{release.package}: {there!r} is not in {release.path}; is it another release?")
            text = text.replace(there, instead.format(device=device_type))
    return text


def _missing(name: str) -> str:
    return f"not measured: {RELEASES[name].package} is not installed (pip install 'pamiq-storm[peers]')"


def _at_least(_operation: str, _wanted: str) -> bool:
    """Their questions are for torch 2.4 and 2.5."""
    return True


def _stand_in_modules() -> dict[str, dict[str, Any]]:
    quiet = logging.getLogger("pamiq_storm.bench.offload.peers")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    never = type("Never", (torch.Tensor,), {})
    return {
        "accelerate": {},
        "accelerate.logging": {"get_logger": lambda *_: quiet},
        "accelerate.utils": {},
        "accelerate.utils.versions": {"is_torch_version": _at_least},
        "transformers": {"is_torch_npu_available": lambda: False},
        "torchao": {"__version__": "0.17.0"},
        "torchao.dtypes": {},
        "torchao.dtypes.nf4tensor": {"NF4Tensor": never},
        "torchtune": {},
        "torchtune.modules": {"TiedLinear": never},
        "torchtune.utils": {"get_logger": lambda *_: quiet},
    }


@contextmanager
def _stand_ins() -> Iterator[None]:
    stand_ins = _stand_in_modules()
    hidden = {name: sys.modules[name] for name in stand_ins if name in sys.modules}
    for name, members in stand_ins.items():
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__.update(members)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
        sys.modules.update(hidden)
