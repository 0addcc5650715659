"""A model in two halves: one that trains, one that infers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from .persistence import PersistentStateMixin


class InferenceModel(ABC):
    """The half that the inference thread uses."""

    @abstractmethod
    def infer(self, *args: Any, **kwds: Any) -> Any:
        """Runs the model."""

    def __call__(self, *args: Any, **kwds: Any) -> Any:
        return self.infer(*args, **kwds)


T = TypeVar("T", bound=InferenceModel)


class TrainingModel(ABC, PersistentStateMixin, Generic[T]):
    """The half that the training thread uses; it makes the other half and brings it up to date.

    Args:
        has_inference_model: Whether there is another half at all.
        inference_thread_only: Whether only the inference thread uses the model, so that there is nothing to sync.

    Raises:
        ValueError: There is no inference model, yet only the inference thread should use it.
    """

    _inference_model: T | None = None

    def __init__(self, has_inference_model: bool = True, inference_thread_only: bool = False) -> None:
        if inference_thread_only and not has_inference_model:
            raise ValueError(
                "inference_thread_only=True asks for an inference model and has_inference_model=False for none: "
                "set only one of them"
            )
        self.has_inference_model = has_inference_model
        self.inference_thread_only = inference_thread_only

    @property
    def inference_model(self) -> T:
        """The other half, made when it is first asked for.

        Raises:
            RuntimeError: The model was made with `has_inference_model=False`.
        """
        if not self.has_inference_model:
            raise RuntimeError(
                f"this {type(self).__name__} was made with has_inference_model=False, so it has no inference model"
            )
        if self._inference_model is None:
            self._inference_model = self._create_inference_model()
        return self._inference_model

    @abstractmethod
    def _create_inference_model(self) -> T:
        """Makes the other half; called at most once."""

    @abstractmethod
    def forward(self, *args: Any, **kwds: Any) -> Any:
        """Runs the training half."""

    def __call__(self, *args: Any, **kwds: Any) -> Any:
        return self.forward(*args, **kwds)

    def sync(self) -> None:
        """Brings the inference model up to date, where there is one to bring."""
        if self._need_sync:
            self.sync_impl(self.inference_model)

    @property
    def _need_sync(self) -> bool:
        return self.has_inference_model and not self.inference_thread_only

    @abstractmethod
    def sync_impl(self, inference_model: T) -> None:
        """Hands this half's parameters to `inference_model`."""
