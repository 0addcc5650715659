"""Optimizers and schedulers by name, and states that have to fit them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["LRSchedulersDict", "OptimizersDict", "OptimizersSetup", "StateDict", "States", "restore", "unpack"]

StateDict: TypeAlias = dict[str, Any]
OptimizersDict: TypeAlias = dict[str, Optimizer]
LRSchedulersDict: TypeAlias = dict[str, LRScheduler]
OptimizersSetup: TypeAlias = OptimizersDict | tuple[OptimizersDict, LRSchedulersDict]


@dataclass(frozen=True)
class States:
    """State dicts by name, and where they are from, for messages."""

    source: str
    optimizers: dict[str, StateDict]
    schedulers: dict[str, StateDict]
    shapes: dict[str, list[list[torch.Size]]] = field(default_factory=dict)  # of the parameters, if they are known

    @staticmethod
    def of(source: str, optimizers: OptimizersDict, schedulers: LRSchedulersDict) -> States:
        """The states as they are now; tensors are shared, not copied."""
        return States(
            source,
            {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
            {name: scheduler.state_dict() for name, scheduler in schedulers.items()},
            {name: _shapes(optimizer) for name, optimizer in optimizers.items()},
        )


def unpack(setup: OptimizersSetup) -> tuple[OptimizersDict, LRSchedulersDict]:
    """What `create_optimizers` returned, in its long form.

    Raises:
        TypeError: It returned something else.
    """
    optimizers, schedulers = setup if isinstance(setup, tuple) else (setup, {})
    _check_types(optimizers, Optimizer)
    _check_types(schedulers, LRScheduler)
    return dict(optimizers), dict(schedulers)


def check_names(states: States, optimizers: Iterable[str], schedulers: Iterable[str]) -> None:
    """Raises ValueError, which says what is lacking and what is too much, unless the names are the same."""
    complaints: list[str] = []
    for kind, found, wanted in (
        ("optimizer", states.optimizers, optimizers),
        ("scheduler", states.schedulers, schedulers),
    ):
        complaints += [f"lacks the {kind} {name!r}" for name in sorted(set(wanted) - set(found))]
        complaints += [f"has an unknown {kind} {name!r}" for name in sorted(set(found) - set(wanted))]
    if complaints:
        raise ValueError(
            f"{states.source} {', '.join(complaints)}: create_optimizers must return the same names; "
            "or call reset_optimizers() to begin with new states"
        )


def restore(states: States, optimizers: OptimizersDict, schedulers: LRSchedulersDict) -> None:
    """Loads the states; all of them are checked before any is loaded.

    Raises:
        ValueError: Names or parameter groups do not fit; the message says which.
    """
    check_names(states, optimizers, schedulers)
    for name, optimizer in optimizers.items():
        _check_groups(name, optimizer, states)
    for name, optimizer in optimizers.items():
        optimizer.load_state_dict(states.optimizers[name])
    for name, scheduler in schedulers.items():
        scheduler.load_state_dict(states.schedulers[name])


def _check_groups(name: str, optimizer: Optimizer, states: States) -> None:
    found = [len(group["params"]) for group in states.optimizers[name]["param_groups"]]
    wanted = [len(group["params"]) for group in optimizer.param_groups]
    if found != wanted:
        raise ValueError(
            f"the state of optimizer {name!r} in {states.source} has groups of {_say(found)} parameters, but "
            f"create_optimizers made groups of {_say(wanted)}: make the same groups, or call reset_optimizers() to "
            "begin with new states"
        )
    shapes = states.shapes.get(name)
    if shapes is not None and shapes != _shapes(optimizer):
        group, index = next(
            (group, index)
            for group, (old, new) in enumerate(zip(shapes, _shapes(optimizer), strict=True))
            for index in range(len(old))
            if old[index] != new[index]
        )
        raise ValueError(
            f"the state of optimizer {name!r} does not fit: parameter {index} of group {group} had shape "
            f"{tuple(shapes[group][index])} and has {tuple(_shapes(optimizer)[group][index])} now; call "
            "reset_optimizers() to begin with new states"
        )


def _shapes(optimizer: Optimizer) -> list[list[torch.Size]]:
    return [[parameter.shape for parameter in group["params"]] for group in optimizer.param_groups]


def _say(sizes: list[int]) -> str:
    return " and ".join(map(str, sizes)) or "no"


def _check_types(found: object, kind: type) -> None:
    if not isinstance(found, Mapping):
        raise TypeError(f"create_optimizers must give {kind.__name__}s by name in a dict, not {type(found).__name__}")
    for name, item in found.items():
        if not isinstance(item, kind):
            raise TypeError(f"create_optimizers gave a {type(item).__name__} as {name!r}, not a {kind.__name__}")
