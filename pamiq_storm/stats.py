"""What the engine did, in numbers."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

__all__ = ["OffloadStats"]

_GAUGES = frozenset({"host_bytes", "peak_host_bytes", "pinned_bytes", "pageable_bytes", "peak_reserved_host_bytes"})


@dataclass(frozen=True)
class OffloadStats:
    """Counts and bytes since the context was made; the host sizes are of now, their peaks since the engine was made.

    A *saved* tensor is one that autograd kept for backward. Each is counted once: offloaded, shared or kept.
    """

    offloaded_tensors: int = 0  # moved to the host
    offloaded_bytes: int = 0  # over the link, device to host
    packed_tensors: int = 0  # of the offloaded: bools that travelled as bits
    packed_bytes: int = 0  # what they are on the device
    shared_tensors: int = 0  # saved again: their bytes were moved already
    shared_bytes: int = 0
    fetched_tensors: int = 0  # brought back from the host
    fetched_bytes: int = 0  # over the link, host to device
    returned_tensors: int = 0  # asked for while still on the device: nothing was moved back
    returned_bytes: int = 0
    late_fetches: int = 0  # asked for before their copy back had been started
    prefetch_refusals: int = 0  # copies back that had to wait for device memory
    stall_seconds: float = 0.0  # compute stood still for copies; 0 unless measure_stalls
    kept_parameter_tensors: int = 0  # parameters, buffers, leaves that require grad, autocast's copies of them
    kept_parameter_bytes: int = 0
    kept_small_tensors: int = 0  # below min_bytes
    kept_small_bytes: int = 0
    kept_last_tensors: int = 0  # the last of forward
    kept_last_bytes: int = 0
    kept_foreign_tensors: int = 0  # other devices, subclasses, layouts that are not strided
    kept_foreign_bytes: int = 0
    kept_host_full_tensors: int = 0  # host_bytes allowed no more
    kept_host_full_bytes: int = 0
    pool_hits: int = 0  # host buffers found in memory already held
    pool_misses: int = 0  # host buffers that needed new memory
    pin_failures: int = 0  # times new memory could not be pinned
    host_refusals: int = 0  # times host_bytes was reached
    host_bytes: int = 0  # in offloaded tensors
    peak_host_bytes: int = 0
    pinned_bytes: int = 0  # held by the pool, pinned
    pageable_bytes: int = 0  # held by the pool because pinning failed; copies from and to it block
    peak_reserved_host_bytes: int = 0  # held by the pool, both kinds

    @property
    def kept_tensors(self) -> int:
        """Saved tensors that stayed on the device, for any reason."""
        return self._kept("tensors")

    @property
    def kept_bytes(self) -> int:
        """Their bytes."""
        return self._kept("bytes")

    def _kept(self, unit: str) -> int:
        return sum(getattr(self, f.name) for f in fields(self) if f.name.startswith("kept_") and f.name.endswith(unit))

    def since(self, earlier: OffloadStats) -> OffloadStats:
        """The counts from ``earlier`` to now; sizes stay those of now."""
        return replace(
            self,
            **{f.name: getattr(self, f.name) - getattr(earlier, f.name) for f in fields(self) if f.name not in _GAUGES},
        )
