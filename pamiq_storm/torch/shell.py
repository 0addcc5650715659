"""A second body for a module: same structure, own tensors, nothing of the user's that only observes."""

from __future__ import annotations

import copy
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy

from .. import _C
from .attributes import Contents, detach_graphs, own

__all__ = ["Body", "Shell", "inner", "serve_hook"]

_FORWARD_HOOKS = ("_forward_hooks", "_forward_pre_hooks")
_OTHER_HOOKS = ("_backward_hooks", "_backward_pre_hooks")
_STATE_HOOKS = (
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)
_INTERNAL = frozenset(vars(nn.Module())) | {"_compiled_call_impl"}
"""What every module has: handled apart, or not for inference."""

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
        self.root = inner(root)
        if isinstance(self.root, torch.jit.ScriptModule):
            raise TypeError(
                f"{type(self.root).__name__} cannot be copied for inference: give the nn.Module that it was scripted "
                "from, and compile=True"
            )
        self.modules = list(self.root.modules())
        self.tensors = _unique([*self.root.parameters(), *self.root.buffers()])
        self.layout = _C.ModelLayout(self.tensors)
        self._record = _C.ModuleRecord(self.modules)
        self._known = frozenset(map(id, self.tensors))
        self._same_structure = True
        self._pending: set[Attribute] = set()
        self._tensor_attributes: set[Attribute] = set()
        self._containers: dict[Attribute, Contents] = {}
        self._hooks: dict[int, list[Any]] = {}
        for index, module in enumerate(self.modules):
            self._note((index, name) for name in vars(module) if name not in _INTERNAL)
            if needed := _needed_hooks(module, self.modules):
                self._hooks[index] = needed

    def changed(self) -> set[Attribute] | None:
        """Plain attributes set, replaced, removed or filled since the last call, and all that are tensors.

        None if modules have other children, parameters, buffers or hooks that inference needs than they had; what
        changed is then told later.
        """
        same_structure, attributes, hooked = self._record.look()
        for index in hooked:
            same_structure &= _needed_hooks(self.modules[index], self.modules) == self._hooks.get(index, [])
        self._same_structure &= same_structure
        found = {(index, name) for index, name in attributes if name not in _INTERNAL}
        found |= {
            attribute
            for attribute, contents in self._containers.items()
            if not contents.holds(self.value(*attribute), self._known)
        }
        self._note(found)
        self._pending |= found
        if not self._same_structure:
            return None
        found, self._pending = self._pending, set()
        return found | self._tensor_attributes

    def _note(self, attributes: Iterable[Attribute]) -> None:
        for attribute in attributes:
            value = self.value(*attribute)
            if isinstance(value, torch.Tensor):
                self._tensor_attributes.add(attribute)
            if (contents := Contents.of(value, self._known)) is not None:
                self._containers[attribute] = contents
            else:
                self._containers.pop(attribute, None)

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
        self._known = frozenset(map(id, self._tensors))
        prepare(self.module)
        self.module.eval()
        self._record = _C.ModuleRecord(self.modules)
        self._containers: dict[Attribute, Contents] = {}
        for index, module in enumerate(self.modules):
            self._note((index, name) for name in vars(module) if name not in _INTERNAL)
        self.snapshot = _C.Snapshot(body.layout, self._tensors)
        self._looked_at = -1  # after so many readers
        self._same_structure = True
        self._references = _C.ReferenceCounts(self._tensors)

    def settle(self) -> None:
        """Count the references to the tensors, at a moment when nobody else has any."""
        self.snapshot.settle()
        self._references.settle()

    def unreferenced(self) -> bool:
        """Whether no graph, view or variable holds a tensor of it, and it is still what it was made as.

        Once inference has changed its structure, its modules hold fewer references than they did: nobody can tell.
        """
        return self._look() and self.snapshot.unreferenced() and self._references.unreferenced()

    def renew(self) -> None:
        """Make ready for another version what is unreferenced."""
        self.snapshot.renew()

    def restore_mode(self) -> None:
        """Back to eval mode, if a reader left it."""
        if any(module.training for module in self.modules):
            self.module.eval()

    def update(self) -> None:
        """Bring plain attributes up to date with the training side."""
        if not self.stale:
            return
        for index, name in self.stale:
            attributes = vars(self.modules[index])
            value = self.body.value(index, name)
            if value is _MISSING:
                attributes.pop(name, None)
            else:
                attributes[name] = own(value, self._memo)
        self._note(self.stale)
        self.stale.clear()
        self._record.look()  # ours are no changes of inference's
        self.settle()  # lists of tensors came or went

    def _look(self) -> bool:
        """Notes the attributes that inference changed. False if it changed where the tensors are, or hooks.

        Nobody reads now, so nothing changes before the next reader comes.
        """
        if self._looked_at == self.snapshot.readers:
            return self._same_structure
        self._looked_at = self.snapshot.readers
        same_structure, attributes, hooked = self._record.look()
        same_structure &= not hooked
        if any(name == "training" for _, name in attributes):
            self.module.eval()
        self.stale |= {(index, name) for index, name in attributes if name not in _INTERNAL}
        for attribute, contents in self._containers.items():
            index, name = attribute
            if not contents.holds(vars(self.modules[index]).get(name), self._known):
                self.stale.add(attribute)
                same_structure &= not contents.tensors
        self._same_structure &= same_structure
        return self._same_structure

    def _note(self, attributes: Iterable[Attribute]) -> None:
        for index, name in tuple(attributes):
            contents = Contents.of(vars(self.modules[index]).get(name), self._known)
            if contents is not None:
                self._containers[index, name] = contents
            else:
                self._containers.pop((index, name), None)


class _Missing:
    pass


_MISSING = _Missing()


def inner(root: nn.Module) -> nn.Module:
    """The module that wrappers for distributed training and compilation stand for."""
    while True:
        if isinstance(root, DistributedDataParallel):
            root = root.module
        elif (dynamo := sys.modules.get("torch._dynamo")) and isinstance(root, dynamo.OptimizedModule):
            root = root.get_submodule("_orig_mod")  # without it nothing was compiled, and to import it takes seconds
        else:
            return root


def _unique(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


def _like(tensor: torch.Tensor, blank: torch.Tensor | None) -> torch.Tensor:
    """`blank` as what `tensor` is: a parameter of its class, with its attributes."""
    if blank is None:
        made = _like_opaque(tensor)
    elif type(tensor) is torch.Tensor:
        made = blank.requires_grad_(tensor.requires_grad)
    else:
        made = torch.Tensor._make_subclass(type(tensor), blank, tensor.requires_grad)
    vars(made).update(vars(tensor))
    return made


def _like_opaque(tensor: torch.Tensor) -> torch.Tensor:
    if is_lazy(tensor):
        kind: Any = type(tensor)
        return kind(tensor.requires_grad, device=tensor.device, dtype=tensor.dtype)
    made = tensor.detach().clone()
    if issubclass(type(tensor), nn.Parameter):
        return torch.Tensor._make_subclass(type(tensor), made, tensor.requires_grad)
    return nn.Parameter(made, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else made


def _copy(body: Body, memo: dict[int, Any]) -> nn.Module:
    hooks = _prepare_memo(body, memo)
    try:
        made = copy.deepcopy(body.root, memo)
    except Exception as error:
        raise TypeError(
            f"{type(body.root).__name__} cannot be copied for inference: {error}. Give what cannot be copied to the "
            "model after TorchTrainingModel has made its inference model, or define __deepcopy__"
        ) from error
    _adopt(body, made, memo)
    for module, name, registered in hooks:
        served = {key: copy.deepcopy(hook, memo) for key, hook in registered.items() if _needed(hook, body.modules)}
        getattr(memo[id(module)], name).update(served)
    return made


def _prepare_memo(body: Body, memo: dict[int, Any]) -> list[tuple[nn.Module, str, OrderedDict[int, Any]]]:
    """Enters what is not to be copied as it is; returns the forward hooks."""
    hooks: list[tuple[nn.Module, str, OrderedDict[int, Any]]] = []
    for module in body.modules:
        for name in (*_FORWARD_HOOKS, *_OTHER_HOOKS):
            registered = getattr(module, name)
            memo[id(registered)] = OrderedDict()
            if name in _FORWARD_HOOKS and registered:
                hooks.append((module, name, registered))
        for name in _STATE_HOOKS:
            for hook in getattr(module, name).values():
                hook = getattr(hook, "hook", hook)
                if not _needed(hook, body.modules):
                    memo[id(hook)] = hook  # its owner is no part of the model
        for name, value in vars(module).items():
            if isinstance(value, torch.Tensor) and id(value) not in memo:
                memo[id(value)] = value.detach().clone()
            elif name not in _INTERNAL:
                detach_graphs(value, memo)
    return hooks


def _adopt(body: Body, made: nn.Module, memo: dict[int, Any]) -> None:
    """For a class that copies itself in a way of its own: what it made gets the tensors that are published."""
    modules = list(made.modules())
    if len(modules) != len(body.modules):
        raise TypeError(
            f"{type(body.root).__name__} cannot be copied for inference: its __deepcopy__ makes {len(modules)} modules "
            f"of {len(body.modules)}"
        )
    for old, new in zip(body.modules, modules, strict=True):
        new = memo.setdefault(id(old), new)
        for name in ("_parameters", "_buffers"):
            for key, tensor in vars(old)[name].items():
                vars(new)[name][key] = None if tensor is None else memo[id(tensor)]


def _needed_hooks(module: nn.Module, modules: list[nn.Module]) -> list[Any]:
    return [hook for name in _FORWARD_HOOKS for hook in getattr(module, name).values() if _needed(hook, modules)]


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
