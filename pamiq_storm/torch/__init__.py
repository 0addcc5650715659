"""Live models: one thread trains, another infers. A drop-in for `pamiq_core.torch`."""

from .model import (
    InferenceProcedureCallable,
    TorchInferenceModel,
    TorchTrainingModel,
    default_infer_procedure,
    get_device,
)
from .publication import PublishMode, PublishStats
from .shell import serve_hook
from .streams import inference_stream

__all__ = [
    "InferenceProcedureCallable",
    "PublishMode",
    "PublishStats",
    "TorchInferenceModel",
    "TorchTrainingModel",
    "default_infer_procedure",
    "get_device",
    "inference_stream",
    "serve_hook",
]
