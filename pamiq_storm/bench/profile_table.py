"""The shipped hardware profiles as a table, for the documentation."""

from __future__ import annotations

from collections.abc import Callable

from pamiq_storm.profile import NUMBERS, Profile, load_profile, profiles
from pamiq_storm.units import format_bytes

SAYS: dict[str, tuple[str, float, str]] = {
    "memory_bytes": ("device memory", 1, ""),
    "half_flops": ("peak, half precision, dense", 1e12, "TFLOP/s"),
    "tf32_flops": ("peak, TF32", 1e12, "TFLOP/s"),
    "single_flops": ("peak, single precision", 1e12, "TFLOP/s"),
    "double_flops": ("peak, double precision", 1e12, "TFLOP/s"),
    "matmul_efficiency": ("matrix products reach", 1, "of the peak"),
    "convolution_efficiency": ("convolutions reach", 1, "of the peak"),
    "attention_efficiency": ("attention reaches", 1, "of the peak"),
    "attention_backward_efficiency": ("its backward reaches", 1, "of the peak"),
    "memory_bytes_per_s": ("memory bandwidth, peak", 1e9, "GB/s"),
    "memory_efficiency": ("kernels reach of it", 1, ""),
    "kernel_floor_s": ("shortest kernel", 1e-6, "us"),
    "d2h_bytes_per_s": ("link to the host", 1e9, "GB/s"),
    "h2d_bytes_per_s": ("link to the device", 1e9, "GB/s"),
    "pageable_bytes_per_s": ("either way, pageable memory", 1e9, "GB/s"),
    "copy_latency_s": ("latency of a copy", 1e-6, "us"),
    "launch_s": ("host: a launch", 1e-6, "us"),
    "api_s": ("host: an event's call", 1e-6, "us"),
    "pin_s": ("host: page-locking, each", 1e-6, "us"),
    "pin_bytes_per_s": ("host: page-locking", 1e9, "GB/s"),
    "unpin_s": ("host: giving it back, each", 1e-3, "ms"),
    "device_malloc_s": ("host: a new segment", 1e-6, "us"),
    "device_free_s": ("host: giving it back", 1e-6, "us"),
    "hook_s": ("host: a Python hook", 1e-6, "us"),
    "host_memory_bytes": ("limit of page-locked memory", 1, ""),
}


def markdown() -> str:
    """A row for each number, a column for each profile; what is assumed is in italics."""
    machines = [load_profile(name) for name in profiles()]
    lines = [f"| | {' | '.join(f'`{machine.name}`' for machine in machines)} |", "|---" + "|--:" * len(machines) + "|"]
    for number in NUMBERS:
        what, _, unit = SAYS[number]
        cells = [_cell(machine, number) for machine in machines]
        lines.append(f"| {what}{f', {unit}' if unit else ''} (`{number}`) | {' | '.join(cells)} |")
    known = sum(not _assumed(machine, number) for machine in machines for number in NUMBERS)
    total = len(machines) * len(NUMBERS)
    return "\n".join([*lines, "", f"{known} of {total} numbers have a published source; those in italics are assumed."])


def _assumed(machine: Profile, number: str) -> bool:
    return machine.sources[number].startswith("assumed")


def _cell(machine: Profile, number: str) -> str:
    value = getattr(machine, number)
    show: Callable[[float], str] = lambda v: f"{v / SAYS[number][1]:.4g}"  # noqa: E731
    if number.endswith("memory_bytes"):
        show = lambda v: format_bytes(int(v)) if v else "none"  # noqa: E731
    return f"*{show(value)}*" if _assumed(machine, number) else show(value)
