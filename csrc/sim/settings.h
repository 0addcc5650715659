// The configuration in force, readable from any thread without a lock.
#pragma once

#include <atomic>
#include <cstdint>

#include "sim/sim.h"

namespace storm::sim {

struct Settings {
  std::atomic<int64_t> memory_bytes;
  std::atomic<double> d2h_bytes_per_s;
  std::atomic<double> h2d_bytes_per_s;
  std::atomic<double> pageable_bytes_per_s;
  std::atomic<int> devices{1};
  std::atomic<bool> poison;
  std::atomic<bool> synchronous;
  std::atomic<bool> virtual_clock;
  std::atomic<bool> ghost;
  std::atomic<bool> races;

  Settings();
  void store(const Config& config);
  Config load() const;
};

Settings& settings() noexcept;

}  // namespace storm::sim
