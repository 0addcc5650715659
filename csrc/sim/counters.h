// What the simulated machine has done so far.
#pragma once

#include <atomic>
#include <cstdint>

#include "sim/clock.h"
#include "sim/sim.h"

namespace storm::sim {

struct LinkCounters {
  std::atomic<int64_t> copies{0};
  std::atomic<int64_t> bytes{0};
  std::atomic<int64_t> busy_ns{0};
};

struct Counters {
  std::atomic<int64_t> async_kernels{0};
  std::atomic<int64_t> sync_kernels{0};
  std::atomic<int64_t> compute_busy_ns{0};
  LinkCounters d2h;
  LinkCounters h2d;
  std::atomic<int64_t> pageable_copies{0};
  std::atomic<int64_t> synchronisations{0};
  std::atomic<int64_t> pinned_requests{0};
  std::atomic<double> flops{0};
  std::atomic<int64_t> pinned_bytes{0};
  std::atomic<int64_t> peak_pinned_bytes{0};

  void add_pinned(int64_t bytes) noexcept;  // negative when released
  void add_flops(double count) noexcept { flops.fetch_add(count, std::memory_order_relaxed); }
};

Counters& counters() noexcept;

inline int64_t nanoseconds(Clock::duration span) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(span).count();
}

}  // namespace storm::sim
