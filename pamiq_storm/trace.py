"""What the engine did and when: a file for Perfetto, and figures by module."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from . import _C
from .stats import OffloadStats

__all__ = ["ModuleStats", "TraceEvent", "trace"]


@dataclass(frozen=True)
class TraceEvent:
    """One copy, or one stretch of time in which something waited."""

    lane: str  # "D2H", "H2D", "compute" (with the stream's number if it is not the default one), "host"
    name: str  # "offload", "fetch", or "stall: " and its cause
    module: str  # whose forward saved the tensor; empty where none was running
    tensor: str  # dtype and shape
    id: int  # of the bytes, the same for each of their copies; 0 for stalls
    bytes: int
    begin: float  # seconds since the trace began
    seconds: float


@dataclass(frozen=True)
class ModuleStats:
    """Figures of the tensors that one module's own forward saved (its children's are theirs)."""

    module: str
    stats: OffloadStats  # counts and bytes; what belongs to the engine as a whole is 0
    stalls: dict[str, float] = field(default_factory=dict)  # seconds, by cause


class trace:  # noqa: N801  (read as a verb, like offload)
    """Record what every engine of this process does inside the ``with`` block.

    Causes of stalls: ``window_full`` (compute waited for a copy out because ``window_bytes`` were under way),
    ``arriving`` (for a copy back that was started ahead, but too late), ``late`` (for one not started when backward
    asked), ``needed`` (for a copy out whose memory was asked for), ``host_full`` (the host waited for host memory).

    Leaving the block waits until the recorded copies are over. Recording costs two timed device events per copy and two
    Python hooks per module call; without a trace nothing of it runs. ``torch.profiler`` shows the host's side of the
    same work as ``storm::offload``, ``storm::fetch``, ``storm::prefetch`` and ``storm::wait_for_host_memory``.

    Args:
        model: Names the modules; without it their classes do.
        path: Where to write the file when the block ends; open it at https://ui.perfetto.dev.

    Raises:
        RuntimeError: Another trace is being recorded.
    """

    def __init__(self, model: nn.Module | None = None, path: str | Path | None = None) -> None:
        self._names = {module: name or type(module).__name__ for name, module in (model or nn.Module()).named_modules()}
        self._path = path
        self._before = threading.local()
        self._handles: list[RemovableHandle] = []
        self.events: list[TraceEvent] = []
        self.host_bytes: list[tuple[float, int]] = []  # (seconds, bytes in offloaded tensors) at each change
        self.modules: list[ModuleStats] = []
        self.seconds = 0.0

    def __enter__(self) -> trace:
        _C.start_recording()
        self._handles = [
            register_module_forward_pre_hook(self._enter_module),
            register_module_forward_hook(self._leave_module, always_call=True),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        found = _C.stop_recording()
        self.seconds = found["seconds"]
        self.events = [TraceEvent(**entry) for entry in found["entries"]]
        self.host_bytes = found["host_bytes"]
        self.modules = [
            ModuleStats(module["module"], OffloadStats(**module["stats"]), module["stalls"])
            for module in found["modules"]
        ]
        if self._path is not None:
            self.save(self._path)

    def save(self, path: str | Path) -> None:
        """Write the trace for Perfetto (Trace Event Format, JSON): a lane per stream, and the host memory in use."""
        lanes = sorted({event.lane for event in self.events}, key=lambda lane: (not lane.startswith("compute"), lane))
        rows: list[dict[str, Any]] = [_meta("process_name", 0, "pamiq_storm")]
        for number, lane in enumerate(lanes):
            rows += [_meta("thread_name", number, lane), _meta("thread_sort_index", number, number)]
        for event in self.events:
            details = {"module": event.module, "tensor": event.tensor, "bytes": event.bytes, "id": event.id}
            rows.append(
                {
                    "ph": "X",
                    "pid": 0,
                    "tid": lanes.index(event.lane),
                    "name": f"{event.name} {event.module}".rstrip(),
                    "cat": "stall" if event.name.startswith("stall") else "copy",
                    "ts": event.begin * 1e6,
                    "dur": event.seconds * 1e6,
                    "args": {name: value for name, value in details.items() if value},
                }
            )
        for at, size in self.host_bytes:
            rows.append({"ph": "C", "pid": 0, "name": "host memory", "ts": at * 1e6, "args": {"bytes": size}})
        Path(path).write_text(json.dumps({"traceEvents": rows, "displayTimeUnit": "ms"}))

    def _enter_module(self, module: nn.Module, _inputs: object) -> None:
        label = _C.label_of(self._names.get(module) or type(module).__name__)
        if not hasattr(self._before, "labels"):
            self._before.labels = []
        self._before.labels.append(_C.exchange_label(label))

    def _leave_module(self, _module: nn.Module, _inputs: object, _output: object) -> None:
        _C.exchange_label(self._before.labels.pop() if getattr(self._before, "labels", None) else 0)


def _meta(name: str, thread: int, value: object) -> dict[str, Any]:
    key = "sort_index" if name.endswith("sort_index") else "name"
    return {"ph": "M", "pid": 0, "tid": thread, "name": name, "args": {key: value}}
