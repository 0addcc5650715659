"""Plain attributes of a module: which of them may change unseen, and how another body gets its own."""

from __future__ import annotations

import copy
import operator
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch

__all__ = ["Contents", "detach_graphs", "own"]

_IMMUTABLE = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size)
_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})
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
    for tensor in _tensors(value):
        if not tensor.is_leaf and id(tensor) not in memo:
            memo[id(tensor)] = tensor.detach().clone()


class Contents:
    """What a container held when it was looked at; containers are dicts, lists, tuples, sets and deques in each other.

    Compares identities. What is not a container is kept alive, so that no address is used twice; tensors are not: they
    may hold a whole graph. Other objects are taken as they are.

    Args:
        value: The container.
        known: Identities of the tensors that are published anyway.
    """

    def __init__(self, value: Any, known: frozenset[int], inside: tuple[int, ...] = ()) -> None:
        self._kind = type(value)
        self._items = _items(value)
        self._known: list[tuple[int, int]] = []
        self._inner: list[Contents] = []
        self.volatile = False
        if set(map(type, self._items)) <= _PLAIN:  # a vocabulary may be long
            return
        inside = (*inside, id(value))
        for index, item in enumerate(self._items):
            if isinstance(item, torch.Tensor):
                self._items[index] = None
                self._known.append((index, id(item)))
                self.volatile |= id(item) not in known
            elif _is_container(item) and id(item) not in inside:
                self._items[index] = None
                self._inner.append(Contents(item, known, inside))
            else:
                self.volatile |= type(item).__name__ == "ndarray"

    @staticmethod
    def of(value: Any, known: frozenset[int]) -> Contents | None:
        """None if the value is no container, or one that never changes."""
        if not _is_container(value) or (isinstance(value, (tuple, frozenset)) and set(map(type, value)) <= _PLAIN):
            return None
        return Contents(value, known)

    @property
    def tensors(self) -> bool:
        """Whether there are tensors in it."""
        return bool(self._known) or any(inner.tensors for inner in self._inner)

    def holds(self, value: Any, known: frozenset[int]) -> bool:
        """Whether nothing was put in, taken out or replaced; of what is volatile nobody can tell."""
        if self.volatile or type(value) is not self._kind:
            return False
        if not self._known and not self._inner:
            items = chain(value.keys(), value.values()) if isinstance(value, dict) else value
            return len(self._items) == len(value) * (1 + isinstance(value, dict)) and all(
                map(operator.is_, self._items, items)
            )
        return self._same(Contents(value, known))

    def _same(self, other: Contents) -> bool:
        return (
            not (self.volatile or other.volatile)
            and self._kind is other._kind
            and len(self._items) == len(other._items)
            and all(map(operator.is_, self._items, other._items))
            and self._known == other._known
            and len(self._inner) == len(other._inner)
            and all(map(Contents._same, self._inner, other._inner))
        )


def _is_container(value: Any) -> bool:
    kind = type(value)
    return kind in _MAPPINGS or kind in _SEQUENCES or (isinstance(value, tuple) and hasattr(kind, "_fields"))


def _items(value: Any) -> list[Any]:
    return [*value.keys(), *value.values()] if isinstance(value, dict) else list(value)


def _tensors(value: Any, inside: tuple[int, ...] = ()) -> Iterator[torch.Tensor]:
    items = _items(value)
    if set(map(type, items)) <= _PLAIN:
        return
    inside = (*inside, id(value))
    for item in items:
        if isinstance(item, torch.Tensor):
            yield item
        elif _is_container(item) and id(item) not in inside:
            yield from _tensors(item, inside)
