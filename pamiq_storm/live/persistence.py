"""State that outlives the process."""

from __future__ import annotations

from pathlib import Path


class PersistentStateMixin:
    """Something whose state can be saved and loaded; without overrides it has none."""

    def save_state(self, path: Path) -> None:
        """Writes the state to `path`: a file of that stem, or a new folder."""

    def load_state(self, path: Path) -> None:
        """Takes over what `save_state` wrote to `path`."""
