"""What the simulated machine did."""

from dataclasses import dataclass

from pamiq_storm.sim.native import enabled


@dataclass(frozen=True)
class SimStats:
    """What the simulated machine did since `enable` or `reset_stats`, over all devices.

    Bytes are those that crossed the link; seconds are those in which a copy engine or a stream was busy
    (the streams' added up), by the clock in force. `flops` are counted by the virtual clock only.
    `synchronisations` are the host's waits for a stream, an event or the device; `pinned_requests` those
    that the cache of pinned memory could not serve.
    """

    async_kernels: int
    sync_kernels: int
    d2h_copies: int
    h2d_copies: int
    d2h_bytes: int
    h2d_bytes: int
    d2h_busy_s: float
    h2d_busy_s: float
    compute_busy_s: float
    flops: float
    pageable_copies: int
    synchronisations: int
    pinned_requests: int
    pinned_bytes: int
    peak_pinned_bytes: int


def stats() -> SimStats:
    """Return what the simulated machine did so far.

    Raises:
        RuntimeError: the simulator is not enabled.
    """
    return SimStats(**enabled().stats())


def reset_stats() -> None:
    """Set the counters to zero; the peak of pinned bytes falls to its present value.

    Raises:
        RuntimeError: the simulator is not enabled.
    """
    enabled().reset_stats()
