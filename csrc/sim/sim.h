// The simulated accelerator's public C++ surface. See README.md beside this file.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

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
  bool virtual_clock = false;                 // fixed by the first enable()
  bool ghost = false;                         // memory without contents; needs the virtual clock
  bool races = false;                         // look for accesses that nothing orders
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
  double flops = 0;              // by the virtual clock's count
  int64_t pageable_copies = 0;   // over the link, of all copies
  int64_t synchronisations = 0;  // the host waited for a stream, an event or the device
  int64_t pinned_requests = 0;   // that the cache of pinned memory could not serve
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

// Called when an allocation does not fit and no cached segment is left to give back: on the
// allocating thread, no lock of the simulator held. If it returns true, which it must only do if it
// gave memory back, the allocation is tried again; else it fails. None by default; null removes it.
using MemoryPressureCallback = bool (*)(c10::Device) noexcept;
void on_memory_pressure(MemoryPressureCallback callback);

// Counts per kind of call: which one is to fail, or how many failed.
struct Faults {
  int64_t allocation = 0;   // of device memory: OutOfMemoryError
  int64_t pinned = 0;       // a request for pinned host memory
  int64_t copy = 0;         // over the link: its target is poisoned, the error is kept
  int64_t task = 0;         // a kernel: it does not run, the error is kept
  int64_t lose_device = 0;  // counts kernels and copies; the one it names is the last accepted
};

// Makes the n-th such call from now on fail, once; 0 means none. Calls are counted when they are
// issued, over all devices, so that the order of the host's calls decides, not timing. Several may
// be in force at once, each counts for itself.
class Injection {
 public:
  explicit Injection(const Faults& which);
  Injection(const Injection&) = delete;
  Injection& operator=(const Injection&) = delete;
  ~Injection();

  // No further call fails. Waits for the streams of a lost device, then revives it.
  void end() noexcept;
  Faults fired() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// Kernels and copies issued on one stream meanwhile take `factor` (>= 1) times as long.
class Stall {
 public:
  Stall(const c10::Stream& stream, double factor);
  Stall(const Stall&) = delete;
  Stall& operator=(const Stall&) = delete;
  ~Stall();

 private:
  c10::Stream stream_;
  double previous_;
};

// Delays kernels and copies issued meanwhile, and lets event queries say "not yet" for up to
// `max_delay`. A delay is a function of the seed, the device, which stream it is (in the order of
// their first use since then) and the how-manieth task there. Raises if one is in force already.
class Fuzz {
 public:
  Fuzz(uint64_t seed, std::chrono::nanoseconds max_delay);
  Fuzz(const Fuzz&) = delete;
  Fuzz& operator=(const Fuzz&) = delete;
  ~Fuzz();
};

// Stops the stream threads between two tasks; queued work is dropped. Called at exit.
void shutdown() noexcept;

}  // namespace storm::sim
