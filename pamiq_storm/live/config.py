"""How a system runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LaunchConfig"]


@dataclass(frozen=True)
class LaunchConfig:
    """What `launch` needs to know besides the parts of the system.

    Args:
        states_dir: Folder of the checkpoints. None: there are none.
        save_interval: Seconds between checkpoints; both threads rest while one is taken. None: only at the end.
        save_at_end: Whether to take one when the system has stopped without a failure.
        max_keep: How many checkpoints to keep, the newest; None keeps all.
        resume: Whether to begin with the newest whole checkpoint of `states_dir`, if there is any.
        saved_state_path: A checkpoint to begin with instead, also one that pamiq_core wrote.
        max_uptime: Seconds after which the system stops.
        idle_wait: When no trainer can train, training waits for data, but at most that many seconds.

    Raises:
        ValueError: The values contradict each other, or are out of range.
    """

    states_dir: str | Path | None = None
    save_interval: float | None = None
    save_at_end: bool = True
    max_keep: int | None = None
    resume: bool = True
    saved_state_path: str | Path | None = None
    max_uptime: float = math.inf
    idle_wait: float = 0.1

    def __post_init__(self) -> None:
        for name in ("save_interval", "max_uptime", "idle_wait"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be seconds above 0, got {value}")
        if self.max_keep is not None and self.max_keep < 1:
            raise ValueError(f"max_keep must be None or at least 1, got {self.max_keep}: the newest is always kept")
        if self.save_interval is not None and self.states_dir is None:
            raise ValueError("save_interval asks for checkpoints: say where to keep them with states_dir")
