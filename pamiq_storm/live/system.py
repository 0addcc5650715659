"""An interaction and its training, each in a thread, under one control."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from .buffer import DataBuffer
from .checkpoints import CheckpointStore
from .clock import system_clock
from .config import LaunchConfig
from .data_dicts import DataUsersDict
from .gate import Gate, StoppedError
from .interaction import Interaction
from .model import TrainingModel
from .models import TrainingModelsDict
from .persistence import PersistentStateMixin
from .trainer import Trainer
from .trainers import TrainersDict
from .worker import TrainingJob, Worker

__all__ = ["LiveSystem"]


class LiveSystem:
    """For programs that want control from other threads; `launch` is the short way. Used once.

    The parts may derive from `pamiq_storm.live` or from `pamiq_core`. Making one connects them, and loads the
    checkpoint to begin with. All methods may be called from any thread, except that the system's own threads cannot
    wait for themselves: from a step only `stop` and `resume` are allowed.

    Args:
        interaction: What the inference thread does.
        models: By name.
        buffers: By name; each becomes a data user for trainers and a data collector for agents.
        trainers: By name, in the order in which the training thread runs them.
        config: See `LaunchConfig`.
    """

    def __init__(
        self,
        interaction: Interaction[Any, Any],
        models: Mapping[str, TrainingModel[Any]],
        buffers: Mapping[str, DataBuffer[Any, Any]],
        trainers: Mapping[str, Trainer],
        config: LaunchConfig | None = None,
    ) -> None:
        self.config = config or LaunchConfig()
        interrupt = getattr(interaction, "interrupt", None)  # pamiq_core's interactions have none
        self._gate = Gate([interrupt] if interrupt else [])
        training_models = TrainingModelsDict(models)
        data_users = DataUsersDict.from_data_buffers(buffers)
        trainers_dict = TrainersDict(trainers)
        for collector in data_users.data_collectors_dict.values():
            collector.on_collected = self._gate.tell
        interaction.agent.attach_inference_models(training_models.inference_models_dict)
        interaction.agent.attach_data_collectors(data_users.data_collectors_dict)
        trainers_dict.attach_training_models(training_models)
        trainers_dict.attach_data_users(data_users)

        self._parts: dict[str, PersistentStateMixin] = {
            "interaction": interaction,
            "models": training_models,
            "data": data_users,
            "trainers": trainers_dict,
        }
        states_dir = self.config.states_dir
        self._store = None if states_dir is None else CheckpointStore(Path(states_dir), self.config.max_keep)
        self._saving = threading.Lock()  # one save at a time; guards _checkpoint
        self._checkpoint: Path | None = None
        self._resumed_from = self._load()

        training = TrainingJob(trainers_dict, self._gate, self.config.idle_wait)
        self._workers = [Worker("inference", interaction, self._gate), Worker("training", training, self._gate)]
        self._keeper = threading.Thread(target=self._keep, name="storm-keeper")
        self._on_over: list[Callable[[], None]] = []
        self._started = False

    def on_over(self, callback: Callable[[], None]) -> None:
        """Before `start`: has `callback` called when the system has stopped, in a thread of the system."""
        self._on_over.append(callback)

    def start(self) -> None:
        """Starts inference and training.

        Raises:
            RuntimeError: It was started before.
        """
        if self._started:
            raise RuntimeError("a LiveSystem runs only once: make another one, it begins with the newest checkpoint")
        self._started = True
        try:
            for worker in self._workers:
                worker.start()
            self._keeper.start()
        except BaseException:
            self.stop()  # what did start ends
            raise

    def pause(self, timeout: float | None = None) -> None:
        """Returns when both threads rest at a step boundary, where they stay until `resume`.

        Raises:
            TimeoutError: Not within `timeout` seconds; the system goes on. The message names the busy thread.
            StoppedError: The system has stopped.
        """
        self._gate.pause(timeout)

    def resume(self) -> None:
        """Lets both threads go on."""
        self._gate.resume()

    def save(self) -> Path:
        """Takes a checkpoint with both threads at rest, and returns its folder.

        Raises:
            ValueError: The system was made without `states_dir`.
            StoppedError: A thread failed, so there is no whole state to save.
        """
        if self._store is None:
            raise ValueError("the system has no folder for checkpoints: set states_dir in LaunchConfig")
        with self._gate.hold(), self._saving:
            self._checkpoint = self._store.write(self._save_parts)
            return self._checkpoint

    def stop(self, reason: str = "stopped") -> None:
        """Asks both threads to end at their next step boundary, and does not wait."""
        self._gate.stop(reason)

    def wait(self) -> None:
        """Returns when the system has stopped and its last checkpoint is written.

        Raises:
            BaseException: What a thread raised, with its traceback; a group if there were several.
        """
        self._keeper.join()
        errors = self._gate.errors
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup("several things went wrong in the system's threads", errors)

    def __enter__(self) -> Self:
        """Starts it; the end of the block stops it and waits."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.wait()

    @property
    def paused(self) -> bool:
        """Whether `pause` is in force."""
        return self._gate.paused

    @property
    def running(self) -> bool:
        """Whether its threads are alive."""
        return self._keeper.is_alive()

    @property
    def stop_reason(self) -> str | None:
        """Why it stopped: "stopped", "max_uptime", "interrupted", "failed" or what `stop` was given."""
        return self._gate.stop_reason

    @property
    def resumed_from(self) -> Path | None:
        """The checkpoint it began with."""
        return self._resumed_from

    @property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint it has taken."""
        return self._checkpoint

    def _keep(self) -> None:
        """The keeper's thread: takes checkpoints, ends the system in time, sees its threads out."""
        try:
            self._watch()
        except StoppedError:
            pass  # why it stopped is known to the gate
        except BaseException as error:
            self._gate.fail(error)
        for worker in self._workers:
            worker.join()
        if self._store is not None and self.config.save_at_end and not self._gate.errors:
            try:
                self.save()
            except BaseException as error:
                self._gate.fail(error)
        for callback in self._on_over:
            callback()

    def _watch(self) -> None:
        start = time.monotonic()
        end = start + self.config.max_uptime
        interval = math.inf if self.config.save_interval is None else self.config.save_interval
        due = start + interval
        while not self._gate.wait_for_stop(min(due, end)):
            if time.monotonic() >= end:
                self._gate.stop("max_uptime")
            elif time.monotonic() >= due:
                self.save()
                due += interval * (1 + (time.monotonic() - due) // interval)

    def _save_parts(self, folder: Path) -> None:
        for name, part in (self._parts | {"time": system_clock()}).items():
            part.save_state(folder / name)

    def _load(self) -> Path | None:
        path = self.config.saved_state_path
        if path is None and self.config.resume and self._store is not None:
            path = self._store.newest()
        if path is None:
            return None
        path = Path(path)
        if not path.is_dir():
            raise FileNotFoundError(f"there is no checkpoint {path}")
        try:
            for name, part in (self._parts | {"time": system_clock()}).items():
                part.load_state(path / name)
        except Exception as error:
            error.add_note(f"This came from the checkpoint {path}. LaunchConfig(resume=False) begins without one.")
            raise
        return path
