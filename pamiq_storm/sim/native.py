"""The simulator's extension, once it is enabled."""

from typing import Any

_native: Any = None


def is_enabled() -> bool:
    """Return whether ``sim`` is a device of this process."""
    return _native is not None


def keep(native: Any) -> None:
    """From now on `enabled` returns it."""
    global _native
    _native = native


def enabled() -> Any:
    """Return `pamiq_storm._sim`.

    Raises:
        RuntimeError: the simulator is not enabled.
    """
    if _native is None:
        raise RuntimeError("the simulator is not enabled: call pamiq_storm.sim.enable() first")
    return _native
