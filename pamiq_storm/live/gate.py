"""Where the threads of a system come to rest: at a step boundary, for a while or for good."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

__all__ = ["Gate", "StoppedError"]


class StoppedError(RuntimeError):
    """The system has stopped, so it can neither pause nor save."""


class Listener(Protocol):
    """Told, in the worker's own thread, that it rests and that it goes on."""

    def on_paused(self) -> None: ...
    def on_resumed(self) -> None: ...


class Gate:
    """Every worker thread passes it between two steps. Anyone may close it, or end it all.

    Args:
        interrupts: Called, without a lock, when workers should come to a step boundary soon.
    """

    def __init__(self, interrupts: Sequence[Callable[[], None]] = ()) -> None:
        self._interrupts = interrupts
        self._lock = threading.Lock()  # guards everything below
        self._changed = threading.Condition(self._lock)  # any of it but _news
        self._told = threading.Condition(self._lock)  # _news, or what ends waiting for it
        self._alive: dict[threading.Thread, str] = {}
        self._resting: set[threading.Thread] = set()
        self._paused = False  # by pause(), until resume()
        self._holds = 0  # holders that need the workers at rest, whatever else happens
        self._stop_reason: str | None = None
        self._errors: list[BaseException] = []
        self._news = 0

    # What anyone may do.

    def pause(self, timeout: float | None) -> None:
        """Returns when every worker rests; they rest until `resume`."""
        with self._changed:
            self._refuse_workers("pause")
            self._paused = True
            self._notify()
        self._interrupt()
        with self._changed:
            if not self._changed.wait_for(self._all_at_rest, timeout):
                self._paused = False
                self._notify()
                raise TimeoutError(f"not paused: within {timeout} s no step boundary came in {self._busy()}")
            if self._stop_reason is not None:
                raise StoppedError("the system stopped before it was paused")

    def resume(self) -> None:
        """Lets the workers go on."""
        with self._changed:
            self._paused = False
            self._notify()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Every worker rests or has ended as long as the block lasts, even if the system is stopped meanwhile.

        Raises:
            StoppedError: A worker failed, perhaps in the middle of a step.
        """
        with self._changed:
            self._refuse_workers("save")
            self._holds += 1
            self._notify()
        try:
            self._interrupt()
            with self._changed:
                self._changed.wait_for(self._all_at_rest)
                if self._errors:
                    raise StoppedError("a thread of the system failed, so its state may be half-way through a step")
            yield
        finally:
            with self._changed:
                self._holds -= 1
                self._notify()

    def stop(self, reason: str) -> None:
        """Ends every worker at its next step boundary. The first reason stays."""
        with self._changed:
            self._stop_reason = self._stop_reason or reason
            self._notify()
        self._interrupt()

    def fail(self, error: BaseException) -> None:
        """Stops because of `error`, which is kept."""
        with self._changed:
            self._errors.append(error)
        self.stop("failed")

    def wait_for_stop(self, until: float) -> bool:
        """Waits until `time.monotonic()` is `until` or the system is stopped; returns whether it is."""
        timeout = max(0.0, min(until - time.monotonic(), threading.TIMEOUT_MAX))
        with self._changed:
            return self._changed.wait_for(lambda: self._stop_reason is not None, timeout)

    @property
    def paused(self) -> bool:
        with self._lock:
            return self._paused and self._stop_reason is None

    @property
    def stop_reason(self) -> str | None:
        with self._lock:
            return self._stop_reason

    @property
    def errors(self) -> list[BaseException]:
        """What went wrong, in order."""
        with self._lock:
            return list(self._errors)

    # What workers do.

    def enter(self, thread: threading.Thread, name: str) -> None:
        """From now on `thread` has to be at rest before the gate is closed."""
        with self._changed:
            self._alive[thread] = name

    def leave(self, thread: threading.Thread) -> None:
        """`thread` takes no more steps."""
        with self._changed:
            del self._alive[thread]
            self._notify()

    def proceed(self, listener: Listener) -> bool:
        """Rests while the gate is closed; returns whether to take another step."""
        while True:
            with self._changed:
                if not self._closed():
                    return self._stop_reason is None
            listener.on_paused()
            with self._changed:
                self._resting.add(threading.current_thread())
                self._notify()
                self._changed.wait_for(lambda: not self._closed())
                self._resting.remove(threading.current_thread())
            listener.on_resumed()

    @property
    def news(self) -> int:
        """How often `tell` was called."""
        with self._lock:
            return self._news

    def tell(self) -> None:
        """There is something new for whoever waits for news."""
        with self._told:
            self._news += 1
            self._told.notify_all()

    def wait_for_news(self, seen: int, timeout: float | None) -> None:
        """Waits until there were more than `seen` news, the gate is closed, or the system is stopped."""
        with self._told:
            self._told.wait_for(lambda: self._news > seen or self._closed() or self._stop_reason is not None, timeout)

    # With the lock held.

    def _closed(self) -> bool:
        return self._holds > 0 or (self._paused and self._stop_reason is None)

    def _all_at_rest(self) -> bool:
        return self._alive.keys() <= self._resting

    def _busy(self) -> str:
        return " and ".join(repr(name) for thread, name in self._alive.items() if thread not in self._resting)

    def _notify(self) -> None:
        self._changed.notify_all()
        self._told.notify_all()

    def _refuse_workers(self, what: str) -> None:
        name = self._alive.get(threading.current_thread())
        if name is not None:
            raise RuntimeError(f"the {name} thread cannot {what}: it would wait for its own step to end")

    # Without it.

    def _interrupt(self) -> None:
        for interrupt in self._interrupts:
            interrupt()
