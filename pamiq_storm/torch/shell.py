"""A second body for a module: same structure, own tensors, nothing of the user's that only observes."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from .. import _C

__all__ = ["Body", "Shell", "serve_hook"]

_FORWARD_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_OTHER_HOOKS = ("_backward_hooks", "_backward_pre_hooks")
_INTERNAL = frozenset(vars(nn.Module())) | {"_compiled_call_impl"}
"""What every module has: handled apart, or not for inference."""

_IMMUTABLE = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.device, torch.Size)

Attribute = tuple[int, str]
"""Index of a module in the tree and a name."""


def serve_hook(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a forward hook that inference needs too; usable as a decorator.

    Without the mark a hook of the user's stays with the training side, because most hooks only observe. Hooks of torch
    itself (weight norm, spectral norm, pruning) and methods of the model's own modules are served without it.
    """
    hook.__dict__["pamiq_storm_serve"] = True
    return hook


class Body:
    """What a training module consists of, as it was looked at last.

    Args:
        root: The module as the user made it; wrappers for distributed training and compilation are looked through.
    """

    def __init__(self, root: nn.Module) -> None:
        self.root = _inner(root)
        self.modules = list(self.root.modules())
        self.tensors = _unique([*self.root.parameters(), *self.root.buffers()])
        self.layout = _C.Layout(self.tensors)
        self._record = _C.ModuleRecord(self.modules)
        self._tensor_attributes = {
            (index, name)
            for index, module in enumerate(self.modules)
            for name, value in vars(module).items()
            if isinstance(value, torch.Tensor)
        }

    def changed(self) -> set[Attribute] | None:
        """Plain attributes set, replaced or removed since the last call, and all that are tensors.

        None if modules have other children, parameters or buffers than they had.
        """
        same_structure, attributes = self._record.look()
        if not same_structure:
            return None
        found = {(index, name) for index, name in attributes if name not in _INTERNAL}
        for index, name in found:
            if isinstance(self.value(index, name), torch.Tensor):
                self._tensor_attributes.add((index, name))
        return found | self._tensor_attributes

    def value(self, index: int, name: str) -> Any:
        """An attribute now; `_MISSING` if it is gone."""
        return vars(self.modules[index]).get(name, _MISSING)


class Shell:
    """One such second body, whose tensors one snapshot after another fills. Always in eval mode."""

    def __init__(self, body: Body, prepare: Callable[[nn.Module], None]) -> None:
        self.stale: set[Attribute] = set()
        self.body = body
        blanks = body.layout.blanks()
        memo: dict[int, Any] = {}
        for tensor, blank in zip(body.tensors, blanks, strict=True):
            memo[id(tensor)] = _like(tensor, blank)
        self._tensors = [memo[id(tensor)] for tensor in body.tensors]
        del blanks
        self.module = _copy(body, memo)
        self.modules = [memo[id(module)] for module in body.modules]
        self._memo = {key: memo[key] for key in (*map(id, body.tensors), *map(id, body.modules))}
        prepare(self.module)
        self.module.eval()
        self._record = _C.ModuleRecord(self.modules)
        self.snapshot = _C.Snapshot(body.layout, self._tensors)
        self._references = _C.ReferenceCounts(self._tensors)

    def settle(self) -> None:
        """Count the references to the tensors, at a moment when nobody else has any."""
        self.snapshot.settle()
        self._references.settle()

    def unreferenced(self) -> bool:
        """Whether no graph, view or variable holds a tensor of it."""
        return self.snapshot.unreferenced() and self._references.unreferenced()

    def renew(self) -> bool:
        """Make ready for another version. False if inference changed its structure: it is of no use then."""
        same_structure, attributes = self._record.look()
        if not same_structure:
            return False
        for index, name in attributes:
            if name == "training":
                self.module.eval()
            elif name not in _INTERNAL:
                self.stale.add((index, name))
        self.snapshot.renew()
        return True

    def update(self) -> None:
        """Bring plain attributes up to date with the training side."""
        for index, name in self.stale:
            attributes = vars(self.modules[index])
            value = self.body.value(index, name)
            if value is _MISSING:
                attributes.pop(name, None)
            else:
                attributes[name] = self._own(value)
        if self.stale:
            self.stale.clear()
            self._record.look()  # ours are no changes of inference's

    def _own(self, value: Any) -> Any:
        if isinstance(value, _IMMUTABLE):
            return value
        if isinstance(value, torch.Tensor):
            return self._memo.get(id(value)) if id(value) in self._memo else value.detach().clone()
        try:
            return copy.deepcopy(value, dict(self._memo))
        except Exception:
            return value


class _Missing:
    pass


_MISSING = _Missing()


def _inner(root: nn.Module) -> nn.Module:
    while True:
        if isinstance(root, DistributedDataParallel):
            root = root.module
        elif isinstance(root, torch._dynamo.OptimizedModule):
            root = root._orig_mod
        else:
            return root


def _unique(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


def _like(tensor: torch.Tensor, blank: torch.Tensor | None) -> torch.Tensor:
    """`blank` as what `tensor` is: a parameter of its class, with its attributes."""
    if blank is None:
        made = tensor.detach().clone()
        if isinstance(tensor, nn.Parameter):
            made = nn.Parameter(made, tensor.requires_grad)
    elif type(tensor) is torch.Tensor:
        made = blank.requires_grad_(tensor.requires_grad)
    else:
        made = torch.Tensor._make_subclass(type(tensor), blank, tensor.requires_grad)
    vars(made).update(vars(tensor))
    return made


def _copy(body: Body, memo: dict[int, Any]) -> nn.Module:
    hooks: list[tuple[nn.Module, str, OrderedDict[int, Any]]] = []
    for module in body.modules:
        for name in (*_FORWARD_HOOKS, *_OTHER_HOOKS):
            registered = getattr(module, name)
            memo[id(registered)] = OrderedDict()
            if name in _FORWARD_HOOKS and registered:
                hooks.append((module, name, registered))
        for value in vars(module).values():
            if isinstance(value, torch.Tensor) and id(value) not in memo:
                memo[id(value)] = value.detach().clone()
    try:
        made = copy.deepcopy(body.root, memo)
    except Exception as error:
        raise TypeError(
            f"{type(body.root).__name__} cannot be copied for inference: {error}. Give what cannot be copied to the "
            "model after TorchTrainingModel has made its inference model, or define __deepcopy__"
        ) from error
    if id(body.root) not in memo or len(body.modules) != sum(id(module) in memo for module in body.modules):
        memo.update((id(old), new) for old, new in zip(body.modules, made.modules(), strict=True))
    for module, name, registered in hooks:
        served = {key: copy.deepcopy(hook, memo) for key, hook in registered.items() if _needed(hook, body.modules)}
        getattr(memo[id(module)], name).update(served)
    return made


def _needed(hook: Any, modules: list[nn.Module]) -> bool:
    """Whether forward is another without the hook, as far as one can tell."""
    function = getattr(hook, "__func__", hook)
    if getattr(function, "pamiq_storm_serve", False):
        return True
    owner = getattr(hook, "__self__", None)
    if isinstance(owner, nn.Module):
        return any(owner is module for module in modules)
    home = getattr(hook, "__module__", None) or type(hook).__module__
    return home == "torch" or home.startswith("torch.")
