"""The simulated accelerator: a device named ``sim`` made of host memory.

It behaves like a GPU where offloading is concerned: streams run asynchronously, events order them,
each direction of the link has a bandwidth, pinned memory matters, device memory is limited and
freed memory is overwritten. The figures it gives are simulated ones.

There are two clocks. With ``clock="threads"`` every stream is a thread: kernels compute real numbers
with torch's CPU kernels, at the same time, and take what that takes. With ``clock="virtual"`` nothing
runs beside the host: kernels and copies take the time that a hardware profile says, the same program
takes the same time to the nanosecond, and with ``memory="ghost"`` memory has no contents, so that models
of any size take a step within milliseconds. docs/simulator.md has the model and its limits.

Each stream's thread computes with one intra-op thread, whatever ``torch.set_num_threads`` says:
that setting belongs to the host's threads.

Loading it makes ``sim`` torch's accelerator for the whole process, so it happens in `enable` only,
never by importing `pamiq_storm`. It reads no environment variable.
"""

from pamiq_storm.profile import Profile, load_profile, profiles
from pamiq_storm.sim.clock import MemoryPoint, Span, Timeline, advance, charge, now_ns, timeline
from pamiq_storm.sim.detector import Race, RaceSide, clear_races, races
from pamiq_storm.sim.enabling import configure, enable
from pamiq_storm.sim.figures import SimStats, reset_stats, stats
from pamiq_storm.sim.native import is_enabled
from pamiq_storm.sim.trouble import FaultCounts, Fuzz, capture, fuzz, hold, inject, stall

__all__ = [
    "FaultCounts",
    "Fuzz",
    "MemoryPoint",
    "Profile",
    "Race",
    "RaceSide",
    "SimStats",
    "Span",
    "Timeline",
    "advance",
    "capture",
    "charge",
    "clear_races",
    "configure",
    "enable",
    "fuzz",
    "hold",
    "inject",
    "is_enabled",
    "load_profile",
    "now_ns",
    "profiles",
    "races",
    "reset_stats",
    "stall",
    "stats",
    "timeline",
]
