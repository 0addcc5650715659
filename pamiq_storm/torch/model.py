"""A PyTorch model that trains in one thread while another infers, each undisturbed by the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import nn

from ..config import OffloadConfig
from ..offload import offload as offload_context
from . import streams
from .bases import InferenceModel, TrainingModel
from .files import host_copy, load, save
from .publication import Publication, PublishMode, PublishStats
from .shell import inner

__all__ = [
    "InferenceProcedureCallable",
    "TorchInferenceModel",
    "TorchTrainingModel",
    "default_infer_procedure",
    "get_device",
]

T = TypeVar("T", bound=nn.Module)
T_contra = TypeVar("T_contra", bound=nn.Module, contravariant=True)


class InferenceProcedureCallable(Protocol[T_contra]):
    """What may be given as `inference_procedure`: takes the module, then what `infer` was called with."""

    def __call__(self, model: T_contra, /, *args: Any, **kwds: Any) -> Any: ...


def get_device(module: nn.Module, default_device: torch.device | None = None) -> torch.device:
    """The device of the first parameter, else of the first buffer, else `default_device` or torch's default device."""
    for tensor in module.parameters():
        return tensor.device
    for tensor in module.buffers():
        return tensor.device
    return torch.get_default_device() if default_device is None else default_device


def default_infer_procedure(model: nn.Module, *args: Any, **kwds: Any) -> Any:
    """Call the model with its arguments; tensors among them are moved to its device."""
    device = get_device(model)

    def place(value: Any) -> Any:
        return value.to(device) if isinstance(value, torch.Tensor) else value

    return model(*map(place, args), **{name: place(value) for name, value in kwds.items()})


class TorchInferenceModel(InferenceModel, Generic[T]):
    """The half that infers: reads the newest version that is there, in eval mode, and keeps to it until it is done.

    Made by `TorchTrainingModel.inference_model`. Any number of threads may infer at once; none waits for another or for
    `sync`. On an accelerator inference computes on a stream of its own; results are ready on the caller's current one.
    """

    def __init__(self, source: Publication[T] | T, inference_procedure: InferenceProcedureCallable[T]) -> None:
        self._publication = source if isinstance(source, Publication) else None
        self._shared = source if isinstance(source, nn.Module) else None
        self._inference_procedure = inference_procedure
        self._module_class = type(source) if isinstance(source, nn.Module) else source.module_class
        self._stream = streams.inference_stream(
            source.device if isinstance(source, Publication) else get_device(source)
        )

    @property
    def version(self) -> int:
        """Which version the next inference reads: 0 at first, one more with each `sync`. Never goes back."""
        return self._publication.version if self._publication is not None else 0

    @property
    def stream(self) -> torch.Stream | None:
        """The stream it computes on; None on the CPU. See `inference_stream`."""
        return self._stream

    @property
    def module_class(self) -> type[nn.Module]:
        """The class of the module that is served."""
        return self._module_class

    def infer(self, *args: Any, **kwds: Any) -> Any:
        """Run the inference procedure under `torch.inference_mode` on the newest version."""
        with torch.inference_mode():
            if self._stream is None:
                with self._pinned() as module:
                    return self._inference_procedure(module, *args, **kwds)
            with streams.on(self._stream, (args, kwds)) as outputs, self._pinned() as module:
                outputs.append(self._inference_procedure(module, *args, **kwds))
            return outputs[0]

    @contextmanager
    def unwrap(self, inference_mode: bool = True) -> Iterator[T]:
        """The module of the newest version, for the length of a `with` block; it does not change inside.

        What the block computes, it computes on the caller's current stream: make that `stream` in a thread that is not
        to queue behind training (`TorchAgent.setup` does). Readers of one version share its parameters' gradients.

        Args:
            inference_mode: False to compute gradients. They belong to this version and never reach training.
        """
        with torch.inference_mode(inference_mode), self._pinned(restore_mode=True) as module:
            yield module

    @contextmanager
    def _pinned(self, restore_mode: bool = False) -> Iterator[T]:
        if self._publication is None:
            yield self._shared  # pyright: ignore[reportReturnType]
            return
        snapshot = self._publication.pin()
        try:
            yield self._publication.module_of(snapshot)
        finally:
            if restore_mode:
                self._publication.restore_mode(snapshot)
            self._publication.unpin(snapshot)


class TorchTrainingModel(TrainingModel[TorchInferenceModel[T]], Generic[T]):
    """A module that trains, and a half that infers (`inference_model`), brought up to date by `sync`.

    The module, its parameters and everything that refers to them stay what they are through any number of syncs; only
    where their values lie changes hands (`publish="swap"`).

    Args:
        model: The module to train.
        has_inference_model: Whether there is an inference half.
        inference_thread_only: The module is not trained: both halves use the one module.
        device: Where the module is moved; default: where its first parameter lies.
        dtype: What floating-point parameters and buffers are converted to.
        inference_procedure: Called as `procedure(module, *args, **kwds)` by `infer`; or the name of a method of the
            module's class.
        pretrained_parameter_file: A state dict, as `torch.save` writes it, to start from.
        compile: Compile both halves with `torch.compile`.
        publish: `"swap"`: at rest two copies of the parameters exist, and addresses change with each sync. `"copy"`: no
            address ever changes (captured CUDA graphs), for a third copy.
        offload: Run `forward` under `pamiq_storm.offload` with this configuration.

    Raises:
        AttributeError: The class has no method of the name given as `inference_procedure`.
        ValueError: That attribute is no method; or `inference_thread_only` without an inference model.
    """

    def __init__(
        self,
        model: T,
        has_inference_model: bool = True,
        inference_thread_only: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        inference_procedure: InferenceProcedureCallable[T] | str = default_infer_procedure,
        pretrained_parameter_file: str | Path | None = None,
        compile: bool = False,  # noqa: A002  (the original's name)
        publish: PublishMode = "swap",
        offload: OffloadConfig | None = None,
    ) -> None:
        super().__init__(has_inference_model, inference_thread_only)
        if publish not in ("swap", "copy"):
            raise ValueError(f'publish must be "swap" or "copy", got {publish!r}')
        device = get_device(model) if device is None else torch.device(device)
        self.model: T = model.to(device=device, dtype=dtype)
        self.step_lock = threading.RLock()  # held while the parameters are being changed or saved
        served = model if inference_thread_only else inner(model)
        self._inference_procedure = _procedure_of(type(served), inference_procedure)
        self._publish: PublishMode = publish
        self._compile = compile
        self._publication: Publication[T] | None = None
        self._creating = threading.Lock()  # guards the making of _inference_model
        if pretrained_parameter_file is not None:
            self.model.load_state_dict(torch.load(pretrained_parameter_file, map_location=device, weights_only=True))
        if inference_thread_only:
            self.model.eval()
        self._offload = offload_context(self.model, offload) if offload is not None else None
        if compile:
            self.model.compile()

    @property
    def inference_model(self) -> TorchInferenceModel[T]:
        """The half that infers; made, with the module's values of that moment, when it is first asked for.

        Raises:
            RuntimeError: The model was made with `has_inference_model=False`.
        """
        if self._inference_model is None and self.has_inference_model:
            with self._creating:
                if self._inference_model is None:
                    self._inference_model = self._create_inference_model()
        return super().inference_model

    def _create_inference_model(self) -> TorchInferenceModel[T]:
        if self.inference_thread_only:
            return TorchInferenceModel(self.model, self._inference_procedure)
        self._publication = Publication(self.model, self._publish, self._prepare)
        return TorchInferenceModel(self._publication, self._inference_procedure)

    def _prepare(self, module: nn.Module) -> None:
        if self._compile:
            module.compile()

    def sync_impl(self, inference_model: TorchInferenceModel[T]) -> None:  # noqa: ARG002  (one half knows the other)
        """Publish the module's values as the next version. Waits for no reader, on an accelerator not even for it.

        Raises:
            RuntimeError: There is no memory for a copy; then nothing has changed.
        """
        if self._publication is not None:
            with self.step_lock:
                self._publication.publish()

    def publish_stats(self) -> PublishStats:
        """What publication did and holds.

        Raises:
            RuntimeError: There is no inference model, or it is the training module itself.
        """
        if not self._need_sync:
            raise RuntimeError("this model publishes nothing: it has no inference model of its own")
        _ = self.inference_model
        assert self._publication is not None
        return self._publication.stats()

    def forward(self, *args: Any, **kwds: Any) -> Any:
        """Run the module, under the engine if `offload` was given."""
        with self._offload if self._offload is not None else nullcontext():
            return self.model(*args, **kwds)

    def save_state(self, path: Path) -> None:
        """Write the module's state dict to `{path}.pt`: whole, or the old file stays.

        Waits until no `TorchTrainer` is in a step with this model; training goes on while the file is written.
        """
        with self.step_lock:
            state = host_copy(self.model.state_dict())
        save(state, Path(f"{path}.pt"))

    def load_state(self, path: Path) -> None:
        """Read `{path}.pt` and serve it at once.

        Raises:
            FileNotFoundError: There is no such file.
            RuntimeError: It holds other parameters than the module has.
        """
        state = load(Path(f"{path}.pt"), get_device(self.model))
        with self.step_lock:
            self.model.load_state_dict(state)
            self.sync()


def _procedure_of(
    kind: type[nn.Module], procedure: InferenceProcedureCallable[T] | str
) -> InferenceProcedureCallable[T]:
    if not isinstance(procedure, str):
        return procedure
    if not hasattr(kind, procedure):
        raise AttributeError(f"inference_procedure names a method, and {kind.__name__} has no {procedure!r}")
    found = getattr(kind, procedure)
    if not callable(found):
        raise ValueError(
            f"inference_procedure names a method, and {kind.__name__}.{procedure} is a {type(found).__name__}"
        )
    return found
