"""Both ends of every buffer of a system, by name."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from .buffer import DataBuffer
from .data import DataCollector, DataUser
from .persistence import PersistentStateMixin


class DataCollectorsDict(UserDict[str, DataCollector[Any]]):
    """Collectors, each of which one agent may acquire."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self._acquired: set[str] = set()
        super().__init__(*args, **kwds)

    def acquire(self, collector_name: str) -> DataCollector[Any]:
        """The collector of that name, for the caller alone.

        Raises:
            KeyError: There is none, or someone has it.
        """
        if collector_name not in self.data:
            known = ", ".join(map(repr, self.data)) or "none"
            raise KeyError(f"there is no data collector {collector_name!r}; there are: {known}")
        if collector_name in self._acquired:
            raise KeyError(f"data collector {collector_name!r} is already acquired: only one agent may collect into it")
        self._acquired.add(collector_name)
        return self.data[collector_name]


class DataUsersDict(UserDict[str, DataUser[Any]], PersistentStateMixin):
    """Data users, and the collectors that go with them."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        self._data_collectors_dict = DataCollectorsDict()
        super().__init__(*args, **kwds)

    @property
    def data_collectors_dict(self) -> DataCollectorsDict:
        """The collectors, under the same names."""
        return self._data_collectors_dict

    def __setitem__(self, key: str, item: DataUser[Any]) -> None:
        super().__setitem__(key, item)
        self._data_collectors_dict[key] = item._collector

    @classmethod
    def from_data_buffers(
        cls, buffer_map: Mapping[str, DataBuffer[Any, Any]] | None = None, /, **kwds: DataBuffer[Any, Any]
    ) -> Self:
        """Makes a user for each buffer."""
        return cls({name: DataUser(buffer) for name, buffer in {**(buffer_map or {}), **kwds}.items()})

    def save_state(self, path: Path) -> None:
        """Saves every user under its name in the new folder `path`."""
        path.mkdir()
        for name, user in self.data.items():
            user.save_state(path / name)

    def load_state(self, path: Path) -> None:
        for name, user in self.data.items():
            user.load_state(path / name)
