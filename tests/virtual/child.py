"""Processes of their own for tests whose simulator has another clock or other memory than the suite's."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from typing import Any


class Child:
    """A process with a simulator of its own that runs functions of test modules, one after the other."""

    def __init__(self, **settings: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far, settings), daemon=True)
        self._process.start()

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """The function's result; raises AssertionError with the child's traceback if it raised or left a race."""
        self._pipe.send((function, args))
        result, failure = self._pipe.recv()
        if failure:
            raise AssertionError(f"in the child process:\n{failure}")
        return result

    def close(self) -> None:
        """Ends the process."""
        self._pipe.send(None)
        self._process.join()


def _serve(pipe: Any, settings: dict[str, Any]) -> None:
    import torch

    from pamiq_storm import sim

    torch.set_num_threads(1)
    sim.enable(**{"races": True} | settings)
    while (request := pipe.recv()) is not None:
        function, args = request
        try:
            result = function(*args)
            races = sim.races()
            sim.clear_races()
            assert not races, "\n".join(map(str, races))
            pipe.send((result, None))
        except Exception:
            pipe.send((None, traceback.format_exc()))
        torch.accelerator.synchronize()
