// The simulated accelerator's public C++ surface. See README.md beside this file.
#pragma once

#include <c10/core/Stream.h>

#include <cstddef>
#include <cstdint>
#include <functional>

namespace storm::sim {

// Upper bounds of the simulated machine; threads are started only for streams that are used.
inline constexpr int kMaxDevices = 8;
inline constexpr int kStreamsPerDevice = 64;

struct Config {
  int64_t memory_bytes = int64_t{512} << 20;  // per device; 0 means unlimited
  double d2h_bytes_per_s = 2e9;               // 0 means unthrottled
  double h2d_bytes_per_s = 2e9;               // 0 means unthrottled
  double pageable_bytes_per_s = 0;            // 0 means as fast as pinned memory
  int devices = 1;                            // fixed by the first enable()
  bool poison = true;                         // overwrite freed device memory, in stream order
  bool synchronous = false;                   // wait for every kernel (to find the one that fails)
};

struct Stats {
  int64_t async_kernels = 0;
  int64_t sync_kernels = 0;  // kernels the host had to wait for
  int64_t d2h_copies = 0;
  int64_t h2d_copies = 0;
  int64_t d2h_bytes = 0;
  int64_t h2d_bytes = 0;
  double d2h_busy_s = 0;
  double h2d_busy_s = 0;
  double compute_busy_s = 0;
  int64_t pinned_bytes = 0;
  int64_t peak_pinned_bytes = 0;
};

// Makes PrivateUse1 the device "sim" (the first call) and applies `config` (every call).
void enable(const Config& config);
bool enabled() noexcept;

// Changes limits and bandwidths; allocations stay. Raises ValueError if `devices` differs.
void configure(const Config& config);
Config current_config();

Stats stats();
void reset_stats();  // peaks fall to the present value

// Runs `fn` on the stream's thread, after all that was issued there before. Does not synchronise.
void enqueue(const c10::Stream& stream, std::function<void()> fn);

// Stops the stream threads between two tasks; queued work is dropped. Called at exit.
void shutdown() noexcept;

}  // namespace storm::sim
