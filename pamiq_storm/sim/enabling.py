"""Making ``sim`` a device of the process, and what it is like."""

import atexit
import os
from pathlib import Path
from typing import Any

import torch

from pamiq_storm.profile import Profile
from pamiq_storm.sim.detector import watch
from pamiq_storm.sim.module import device_module
from pamiq_storm.sim.native import enabled, keep
from pamiq_storm.sim.settings import UNSET, Settings, Size

_present = Settings()


def enable(
    memory: Size = "512MiB",
    d2h: Size = "2GB/s",
    h2d: Size = "2GB/s",
    pageable: Size = None,
    devices: int = 1,
    poison: bool = True,
    synchronous: bool = False,
    *,
    clock: str = "threads",
    limit: Size = UNSET,
    profile: str | Path | Profile = "rtx4090",
    races: bool = False,
) -> None:
    """Make ``sim`` a device of this process and torch's accelerator.

    Calling it again changes the settings and keeps all allocations.

    Args:
        memory: the limit per device of memory with contents, in bytes or like ``"512MiB"``, None for
            unlimited; or ``"real"`` or ``"ghost"``, with or without contents, and `limit` has the bytes.
        d2h: bandwidth from device to host in bytes per second, or like ``"2GB/s"``; None means as
            fast as memory is copied. Of the thread clock; the virtual one has its profile.
        h2d: the same from host to device.
        pageable: bandwidth of copies from and to memory that is not pinned; None means the link's.
        devices: number of devices, fixed by the first call; the virtual clock has one.
        poison: overwrite freed device memory with 0xFF, when its stream gets there.
        synchronous: wait for each kernel, to see which one fails.
        clock: ``"threads"`` or ``"virtual"``, fixed by the first call, as is whether memory is ghost's.
        limit: of device memory, None for unlimited. Left out, it is the profile's, or 512 MiB.
        profile: the machine whose times the virtual clock tells: a name of `profiles`, the path of a
            ``.toml`` file, or a `Profile`.
        races: look for accesses to the same memory that nothing orders; see `pamiq_storm.sim.races`.

    Raises:
        ValueError: a setting makes no sense, or what the first call fixed differs.
        RuntimeError: another PrivateUse1 backend is already registered.
    """
    settings = Settings(memory, d2h, h2d, pageable, devices, poison, synchronous, clock, limit, profile, races)
    from pamiq_storm import _C, _sim

    first = not _sim.enabled()
    config = settings.fill(_sim.Config())
    numbers = settings.fill_profile(_sim.Profile())
    _sim.enable(config)
    _sim.set_profile(numbers)
    _keep_settings(settings)
    watch.follow(_sim, settings.races)
    if not first:
        return
    keep(_sim)
    _sim.set_memory_pressure_callback(_C.memory_pressure_callback())
    # torch's Python side has the name to learn too: it patches repr and the profiler.
    torch.utils.rename_privateuse1_backend("sim")  # pyright: ignore[reportPrivateImportUsage]
    torch._register_device_module("sim", device_module(_sim))
    torch.utils.generate_methods_for_privateuse1_backend(  # pyright: ignore[reportPrivateImportUsage]
        for_tensor=True, for_module=True, for_packed_sequence=True, for_storage=True
    )
    atexit.register(_sim.shutdown)
    os.register_at_fork(after_in_child=_sim.renew_autograd_engine)


def configure(**settings: Any) -> None:
    """Change some of `enable`'s settings, by name; the others stay.

    Raises:
        RuntimeError: the simulator is not enabled.
        ValueError: a setting is unknown or makes no sense.
    """
    native = enabled()
    if unknown := sorted(set(settings) - set(Settings.names())):
        raise ValueError(f"unknown settings of the simulator: {', '.join(unknown)}")
    changed = _present.changed(**settings)
    config = changed.fill(native.Config())
    numbers = changed.fill_profile(native.Profile())
    native.configure(config)
    native.set_profile(numbers)
    _keep_settings(changed)
    watch.follow(native, changed.races)


def _keep_settings(settings: Settings) -> None:
    global _present
    _present = settings
