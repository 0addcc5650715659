"""Run a system until it ends, Ctrl-C included."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from .buffer import DataBuffer
from .config import LaunchConfig
from .interaction import Interaction
from .model import TrainingModel
from .system import LiveSystem
from .trainer import Trainer

__all__ = ["LaunchResult", "launch"]

_INTERRUPTED = "interrupted"
_OVER = "over"


@dataclass(frozen=True)
class LaunchResult:
    """How a launch ended.

    Args:
        reason: "max_uptime", "interrupted" (Ctrl-C), or what `LiveSystem.stop` was given.
        checkpoint: The newest checkpoint it took.
        resumed_from: The checkpoint it began with.
    """

    reason: str
    checkpoint: Path | None
    resumed_from: Path | None


def launch(
    interaction: Interaction[Any, Any],
    models: Mapping[str, TrainingModel[Any]],
    buffers: Mapping[str, DataBuffer[Any, Any]],
    trainers: Mapping[str, Trainer],
    config: Mapping[str, Any] | LaunchConfig | None = None,
) -> LaunchResult:
    """Runs inference and training, each in a thread, until Ctrl-C, `max_uptime` or a failure.

    After Ctrl-C both threads end at their next step boundary and the last checkpoint is taken; a second Ctrl-C no
    longer waits for that and raises KeyboardInterrupt. A program with a SIGINT handler of its own keeps it.

    Args:
        interaction: What the inference thread does; a `FixedIntervalInteraction` keeps a steady rate.
        models: By name.
        buffers: By name.
        trainers: By name, in the order in which the training thread runs them.
        config: A `LaunchConfig`, or its values by name.

    Raises:
        BaseException: What a thread raised, with its traceback; an exception group if there were several.
    """
    if not isinstance(config, LaunchConfig):
        config = LaunchConfig(**(config or {}))
    system = LiveSystem(interaction, models, buffers, trainers, config)
    # A SimpleQueue, since only its put is safe in a signal handler, whatever the main thread is doing.
    mail: SimpleQueue[str] = SimpleQueue()
    system.on_over(lambda: mail.put(_OVER))
    try:
        with _ctrl_c_to(mail):
            system.start()
            if mail.get() is _INTERRUPTED:
                system.stop(_INTERRUPTED)
                mail.get()
    finally:
        system.stop(_INTERRUPTED)  # a no-op unless a signal handler raised
    system.wait()
    return LaunchResult(system.stop_reason or _INTERRUPTED, system.checkpoint, system.resumed_from)


@contextmanager
def _ctrl_c_to(mail: SimpleQueue[str]) -> Iterator[None]:
    """The first Ctrl-C is mailed, later ones raise KeyboardInterrupt as usual."""
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
        yield
        return

    def first(*_: object) -> None:
        signal.signal(signal.SIGINT, usual)
        mail.put(_INTERRUPTED)

    signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
