"""The ways to bring trained parameters to inference that are compared."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pamiq_storm.torch import TorchTrainingModel

Procedure = Callable[..., Any]
"""What an inference does: takes the module and what the caller gave."""


class Publisher(Protocol):
    """A trained module and the means to publish it."""

    def sync(self) -> None:
        """Brings the parameters to the other side."""
        ...


class LiveModel(Protocol):
    """What the measuring code needs of a `TorchTrainingModel`, ours or the original."""

    model: nn.Module

    @property
    def inference_model(self) -> Any: ...

    def sync(self) -> None: ...

    def __call__(self, *args: Any) -> Any: ...


class MakeLive(Protocol):
    """Builds a live model around a module that lies on its device."""

    def __call__(self, model: nn.Module, procedure: Procedure, compiled: bool = False) -> LiveModel: ...


class LoadStateDict:
    """`load_state_dict` of the whole state into a copy, as a program without either library would."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._served = copy.deepcopy(model)

    def sync(self) -> None:
        self._served.load_state_dict(self._model.state_dict())


class ForeachCopy:
    """`torch._foreach_copy_` of the same tensors: nobody copies them in less calls."""

    def __init__(self, model: nn.Module) -> None:
        self._sources: list[Tensor] = list(model.parameters())
        self._targets: list[Tensor] = list(copy.deepcopy(model).parameters())

    def sync(self) -> None:
        with torch.no_grad():
            torch._foreach_copy_(self._targets, self._sources)  # pyright: ignore[reportPrivateImportUsage]


YARDSTICK = "foreach_copy"
COPIES: Mapping[str, type[LoadStateDict | ForeachCopy]] = {"load_state_dict": LoadStateDict, YARDSTICK: ForeachCopy}
"""The arms that copy and serve nobody."""


def storm_swap(model: nn.Module, procedure: Procedure, compiled: bool = False) -> LiveModel:
    """Ours, in the mode that is the default."""
    return TorchTrainingModel(model, inference_procedure=procedure, compile=compiled, publish="swap")


def storm_copy(model: nn.Module, procedure: Procedure, compiled: bool = False) -> LiveModel:
    """Ours, with addresses that stay."""
    return TorchTrainingModel(model, inference_procedure=procedure, compile=compiled, publish="copy")


def live_arms() -> tuple[dict[str, MakeLive], str]:
    """The arms with an inference model by name, and what is to be said about pamiq-core: its version, or why not."""
    arms: dict[str, MakeLive] = {"storm_swap": storm_swap, "storm_copy": storm_copy}
    try:
        from pamiq_core.torch import TorchTrainingModel as Original  # pyright: ignore[reportMissingImports]
    except (ImportError, SyntaxError) as error:  # its syntax is that of Python 3.12
        return arms, f"not measured: {error} (it needs Python 3.12 or newer, and pip install pamiq-core)"

    def pamiq_core(model: nn.Module, procedure: Procedure, compiled: bool = False) -> LiveModel:
        return Original(model, inference_procedure=procedure, compile=compiled)

    arms["pamiq_core"] = pamiq_core
    return arms, _version("pamiq-core")


def call(model: nn.Module, *args: Any) -> Any:
    """The plain inference."""
    return model(*args)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown version"
