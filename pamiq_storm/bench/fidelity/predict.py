"""Steps of the published settings under the virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from pamiq_storm import sim
from pamiq_storm.bench.fidelity.methods import METHODS, Method
from pamiq_storm.bench.fidelity.model import Transformer
from pamiq_storm.bench.fidelity.published import Fit, Setting
from pamiq_storm.bench.offload.charges import BARE_PYTHON, HookCost
from pamiq_storm.profile import Profile

WARM_UP = 2


class Bench:
    """One setting's model, and its steps on any machine."""

    def __init__(self, setting: Setting, device: torch.device) -> None:
        self._setting = setting
        default = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        try:
            with device:
                self._model = Transformer(setting.shape, setting.key_share)
                self._tokens = torch.zeros(1, setting.tokens, dtype=torch.long)
        finally:
            torch.set_default_dtype(default)
        optimizer = torch.optim.AdamW(self._model.parameters(), fused=True)
        self._optimizer = optimizer if setting.optimizer else None

    def step_s(self, name: str, profile: Profile) -> float:
        """Virtual seconds of a step once streams, buffers and caches are as they stay."""
        _settle()
        sim.configure(profile=profile)
        method = METHODS[name](self._model)
        try:
            with _hooks_charged(HookCost(profile.hook_s, profile.hook_s)):
                for _ in range(WARM_UP):
                    self._step(method)
                return self._step(method)
        finally:
            method.close()

    def _step(self, method: Method) -> float:
        for parameter in self._model.parameters():
            parameter.grad = None
        method.prepare()
        torch.accelerator.synchronize()
        begin = sim.now_ns()
        with method.around():
            self._loss().backward()
        if self._optimizer:
            self._optimizer.step()
        torch.accelerator.synchronize()
        return (sim.now_ns() - begin) * 1e-9

    def _loss(self) -> Tensor:
        hidden = self._model(self._tokens)
        if self._setting.loss == "last logit":
            return self._model.head(hidden[:, -1:]).float().mean()
        logits = self._model.head(hidden)
        if self._setting.loss == "logits":
            return logits.mean()
        return F.cross_entropy(logits.float().flatten(0, 1), self._tokens.flatten())


def fitted(setting: Setting, bench: Bench) -> Profile:
    """The setting's machine, its one fitted constant found by trying."""
    profile = setting.machine.load()
    if setting.fit is None:
        return profile
    fit = setting.fit
    value = _solved(lambda value: bench.step_s(fit.method, profile.replace(**{fit.number: value})), fit)
    return replace(
        profile.replace(**{fit.number: value}), sources={**profile.sources, fit.number: f"fitted: {fit.says}"}
    )


def _solved(seconds: Callable[[float], float], fit: Fit) -> float:
    """The rate at which the step takes that long: its time is nearly linear in the rate's inverse."""
    inverse = (1.0, 2.0)
    times = tuple(seconds(1 / value) for value in inverse)
    for _ in range(6):
        slope = (times[1] - times[0]) / (inverse[1] - inverse[0])
        if slope <= 0 or abs(times[1] - fit.seconds) < 1e-4 * fit.seconds:
            break
        last = inverse[1] + (fit.seconds - times[1]) / slope
        if last <= 0:
            break
        inverse, times = (inverse[1], last), (times[1], seconds(1 / last))
    if abs(times[1] - fit.seconds) > 1e-3 * fit.seconds:
        raise RuntimeError(f"no {fit.number} gives a step of {fit.seconds:.3f} s: {fit.says}")
    return 1 / inverse[1]


@contextmanager
def _hooks_charged(cost: HookCost) -> Iterator[None]:
    """Python's saved-tensor hooks cost the host so much; those of torch's checkpointing keep no books."""
    from torch._C import _autograd  # pyright: ignore[reportAttributeAccessIssue]

    def enter(hooks: saved_tensors_hooks) -> None:
        own = BARE_PYTHON if type(hooks).__module__ == "torch.utils.checkpoint" else cost
        _autograd._push_saved_tensors_default_hooks(
            _charged(hooks.pack_hook, own.pack_s), _charged(hooks.unpack_hook, own.unpack_s)
        )

    with patch.object(saved_tensors_hooks, "__enter__", enter):
        yield


def _charged(hook: Callable[[Any], Any], seconds: float) -> Callable[[Any], Any]:
    def call(value: Any) -> Any:
        sim.advance(seconds)
        return hook(value)

    return call


def _settle() -> None:
    torch.accelerator.synchronize()
    torch.accelerator.empty_cache()
    torch.accelerator.empty_host_cache()
