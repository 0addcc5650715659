"""An agent whose models are PyTorch modules."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from torch import nn

from .bases import Agent
from .model import TorchInferenceModel

__all__ = ["TorchAgent"]

O = TypeVar("O")  # noqa: E741 (the name of the type of observations in pamiq_core)
A = TypeVar("A")
T = TypeVar("T", bound=nn.Module)


class TorchAgent(Agent[O, A], Generic[O, A]):
    """Retrieves models with a check of their types."""

    def get_torch_inference_model(
        self,
        name: str,
        module_cls: type[T] = nn.Module,  # type: ignore[assignment]
    ) -> TorchInferenceModel[T]:
        """The inference model of that name.

        Raises:
            KeyError: There is none.
            ValueError: It is no `TorchInferenceModel`.
            TypeError: Its module is no `module_cls`.
        """
        model = self.get_inference_model(name)
        if not isinstance(model, TorchInferenceModel):
            raise ValueError(f"inference model {name!r} is a {type(model).__name__}, not a TorchInferenceModel")
        if not issubclass(model.module_class, module_cls):
            raise TypeError(
                f"the module of inference model {name!r} is a {model.module_class.__name__}, "
                f"not a {module_cls.__name__}"
            )
        return cast("TorchInferenceModel[T]", model)
