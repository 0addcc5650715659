"""Plain attributes of a module: which of them may change unseen, and how another body gets its own."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import Any

import torch

__all__ = ["Contents", "detach_graphs", "own"]

_IMMUTABLE = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
_MAPPINGS = (dict, OrderedDict, defaultdict)
_SEQUENCES = (list, tuple, set, frozenset, deque)


def own(value: Any, memo: dict[int, Any]) -> Any:
    """A copy for another body, without history; what cannot be copied is shared.

    Args:
        value: An attribute's value.
        memo: What that body has already, as for `copy.deepcopy`.
    """
    if isinstance(value, _IMMUTABLE):
        return value
    if isinstance(value, torch.Tensor):
        return memo[id(value)] if id(value) in memo else value.detach().clone()
    memo = dict(memo)
    detach_graphs(value, memo)
    try:
        return copy.deepcopy(value, memo)
    except MemoryError:
        raise
    except Exception:
        return value


def detach_graphs(value: Any, memo: dict[int, Any]) -> None:
    """Enter into `memo` the tensors of a container that `copy.deepcopy` refuses, because they have a history."""
    if not _is_container(value):
        return
    for _, leaf in _leaves(value):
        if isinstance(leaf, torch.Tensor) and not leaf.is_leaf and id(leaf) not in memo:
            memo[id(leaf)] = leaf.detach().clone()


class Contents:
    """What a container held when it was looked at; containers are dicts, lists, tuples, sets and deques in each other.

    Compares identities. Leaves are kept alive, so that no address is used twice; tensors are not: they may hold a whole
    graph. Other objects are taken as they are.

    Args:
        value: The container.
        known: Identities of the tensors that are published anyway.
    """

    def __init__(self, value: Any, known: frozenset[int]) -> None:
        self._items: list[Any] = []
        self.volatile = False
        self.tensors = 0
        for path, leaf in _leaves(value):
            if id(leaf) in known:
                self.tensors += 1
                self._items.append((path, id(leaf)))
                continue
            self.volatile |= isinstance(leaf, torch.Tensor) or type(leaf).__name__ == "ndarray"
            self._items.append((path, None if self.volatile else leaf))

    @staticmethod
    def of(value: Any, known: frozenset[int]) -> Contents | None:
        """None if the value is no container, or one that never changes."""
        if not _is_container(value):
            return None
        if type(value) in (tuple, frozenset) and all(isinstance(item, _IMMUTABLE) for item in value):
            return None
        return Contents(value, known)

    def same(self, other: Contents | None) -> bool:
        """Whether nothing was put in, taken out or replaced; of what is volatile nobody can tell."""
        if other is None or self.volatile or other.volatile or len(self._items) != len(other._items):
            return False
        return all(
            a[0] == b[0] and (a[1] is b[1] or (type(a[1]) is int and a[1] == b[1]))
            for a, b in zip(self._items, other._items, strict=True)
        )


def _is_container(value: Any) -> bool:
    kind = type(value)
    return kind in _MAPPINGS or kind in _SEQUENCES or (isinstance(value, tuple) and hasattr(kind, "_fields"))


def _leaves(value: Any, path: tuple[Any, ...] = (), inside: tuple[int, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Leaves and where they are: keys by identity, as they need not be comparable. A cycle is a leaf."""
    if not _is_container(value) or id(value) in inside:
        yield path, value
        return
    inside = (*inside, id(value))
    yield (*path, id(value)), type(value)
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, id(key)), key
            yield from _leaves(item, (*path, id(key)), inside)
    else:
        for index, item in enumerate(value):
            yield from _leaves(item, (*path, index), inside)
