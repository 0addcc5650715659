"""Live models: one thread trains, another infers. A drop-in for `pamiq_core.torch`."""

from .agent import TorchAgent
from .model import (
    InferenceProcedureCallable,
    TorchInferenceModel,
    TorchTrainingModel,
    default_infer_procedure,
    get_device,
)
from .optimizers import LRSchedulersDict, OptimizersDict, OptimizersSetup, StateDict
from .publication import PublishMode, PublishStats
from .shell import serve_hook
from .streams import inference_stream
from .trainer import TorchTrainer

__all__ = [
    "InferenceProcedureCallable",
    "LRSchedulersDict",
    "OptimizersDict",
    "OptimizersSetup",
    "PublishMode",
    "PublishStats",
    "StateDict",
    "TorchAgent",
    "TorchInferenceModel",
    "TorchTrainer",
    "TorchTrainingModel",
    "default_infer_procedure",
    "get_device",
    "inference_stream",
    "serve_hook",
]
