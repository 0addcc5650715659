"""The base classes in force: pamiq_core's where it is installed, else those of `pamiq_storm.live`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

__all__ = ["Agent", "InferenceModel", "Trainer", "TrainingModel"]

_HOMES = {"Agent": "interaction", "InferenceModel": "model", "Trainer": "trainer", "TrainingModel": "model"}
_CORE_NEEDS = (3, 12)


def bases_in_force(python: tuple[int, ...]) -> dict[str, Any]:
    """The base classes by name, for that version of Python.

    Raises:
        ImportError: pamiq_core is there and broken. That is no reason to go without: what is built on its classes
            would no longer fit ours.
    """
    if python < _CORE_NEEDS or importlib.util.find_spec("pamiq_core") is None:
        live = importlib.import_module("pamiq_storm.live")
        return {name: getattr(live, name) for name in _HOMES}
    try:
        return {name: getattr(importlib.import_module(f"pamiq_core.{home}"), name) for name, home in _HOMES.items()}
    except Exception as error:
        raise ImportError(
            f"pamiq_core is installed but cannot be used ({type(error).__name__}: {error}): repair it, or uninstall it "
            "and pamiq_storm takes base classes of its own"
        ) from error


if TYPE_CHECKING:
    from pamiq_storm.live import Agent, InferenceModel, Trainer, TrainingModel
else:
    globals().update(bases_in_force(sys.version_info[:2]))
