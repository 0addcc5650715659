"""Train models that do not fit into device memory, bit for bit.

Saved activations leave device memory for host memory on streams of their own while the model computes, and are back
before backward asks for them::

    storm = pamiq_storm.offload(model)
    with storm:
        loss = model(x)
    loss.backward()
"""

from . import _native  # noqa: F401  (first: whatever imports the engine behind it finds it loaded)
from ._engine import StormSystem, fetch_activation_from_cpu, offload_activation_to_cpu
from .config import OffloadConfig
from .live import LaunchConfig, launch
from .nn import StormLayer, StormModel, StormTrainer
from .offload import offload
from .stats import OffloadStats
from .trace import ModuleStats, TraceEvent, trace

__version__ = "0.1.0"

__all__ = [
    "LaunchConfig",
    "ModuleStats",
    "OffloadConfig",
    "OffloadStats",
    "StormLayer",
    "StormModel",
    "StormSystem",
    "StormTrainer",
    "TraceEvent",
    "fetch_activation_from_cpu",
    "launch",
    "offload",
    "offload_activation_to_cpu",
    "trace",
]
