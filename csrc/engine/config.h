#pragma once
#include <c10/core/Device.h>

#include <cstddef>
#include <cstdint>

namespace storm {

// All sizes in bytes.
struct OffloadConfig {
  size_t min_bytes = size_t{64} << 10;  // smaller ranges stay on the device
  size_t window_bytes = size_t{64}
                        << 20;  // device bytes on their way out before compute waits for them
  size_t prefetch_bytes = size_t{64} << 20;  // device bytes brought back ahead of need
  size_t keep_last_bytes = size_t{64}
                           << 20;  // made last in forward, needed first in backward: they stay
  size_t host_bytes = SIZE_MAX;    // hard cap on host memory
  size_t slab_bytes = size_t{64} << 20;  // the largest slab of host memory, a power of two
  bool pack_bool = false;                // bools travel as bits
  bool measure_stalls = true;

  // Throws ValueError when the numbers contradict each other; `device_total` is the device's
  // memory, 0 unknown.
  void validate(c10::Device device, size_t device_total) const;
};

}  // namespace storm
