"""Live systems: agents infer in one thread while trainers train in another.

The classes have the interface of pamiq_core's, so that what is written for one runs on the other; these need no more
than Python 3.11.
"""

from .agent import Agent
from .buffer import DataBuffer
from .config import LaunchConfig
from .data import DataCollector, DataUser
from .data_dicts import DataCollectorsDict, DataUsersDict
from .environment import Environment
from .events import InteractionEventMixin, ThreadEventMixin
from .gate import StoppedError
from .interaction import FixedIntervalInteraction, Interaction
from .intervals import IntervalAdjustor, SleepIntervalAdjustor
from .launch import LaunchResult, launch
from .model import InferenceModel, TrainingModel
from .models import InferenceModelsDict, TrainingModelsDict
from .persistence import PersistentStateMixin
from .sequential_buffer import SequentialBuffer
from .system import LiveSystem
from .trainer import Trainer
from .trainers import TrainersDict

__all__ = [
    "Agent",
    "DataBuffer",
    "DataCollector",
    "DataCollectorsDict",
    "DataUser",
    "DataUsersDict",
    "Environment",
    "FixedIntervalInteraction",
    "InferenceModel",
    "InferenceModelsDict",
    "Interaction",
    "InteractionEventMixin",
    "IntervalAdjustor",
    "LaunchConfig",
    "LaunchResult",
    "LiveSystem",
    "PersistentStateMixin",
    "SequentialBuffer",
    "SleepIntervalAdjustor",
    "StoppedError",
    "ThreadEventMixin",
    "Trainer",
    "TrainersDict",
    "TrainingModel",
    "TrainingModelsDict",
    "launch",
]
