#include "sim/counters.h"

namespace storm::sim {

void Counters::add_pinned(int64_t bytes) noexcept {
  const int64_t present = pinned_bytes += bytes;
  int64_t peak = peak_pinned_bytes;
  while (present > peak && !peak_pinned_bytes.compare_exchange_weak(peak, present)) {
  }
}

Counters& counters() noexcept {
  static auto* instance = new Counters;
  return *instance;
}

Stats stats() {
  const auto& c = counters();
  Stats s;
  s.async_kernels = c.async_kernels;
  s.sync_kernels = c.sync_kernels;
  s.d2h_copies = c.d2h.copies;
  s.h2d_copies = c.h2d.copies;
  s.d2h_bytes = c.d2h.bytes;
  s.h2d_bytes = c.h2d.bytes;
  s.d2h_busy_s = c.d2h.busy_ns * 1e-9;
  s.h2d_busy_s = c.h2d.busy_ns * 1e-9;
  s.compute_busy_s = c.compute_busy_ns * 1e-9;
  s.flops = c.flops;
  s.pageable_copies = c.pageable_copies;
  s.synchronisations = c.synchronisations;
  s.pinned_requests = c.pinned_requests;
  s.pinned_bytes = c.pinned_bytes;
  s.peak_pinned_bytes = c.peak_pinned_bytes;
  return s;
}

void reset_stats() {
  auto& c = counters();
  c.async_kernels = 0;
  c.sync_kernels = 0;
  c.compute_busy_ns = 0;
  c.flops = 0;
  c.pageable_copies = 0;
  c.synchronisations = 0;
  c.pinned_requests = 0;
  for (auto* link : {&c.d2h, &c.h2d}) {
    link->copies = 0;
    link->bytes = 0;
    link->busy_ns = 0;
  }
  c.peak_pinned_bytes = c.pinned_bytes.load();
}

}  // namespace storm::sim
