#include "sim/sim.h"

#include <ATen/core/grad_mode.h>

#include <cmath>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "sim/autograd_threads.h"
#include "sim/device.h"
#include "sim/hooks.h"
#include "sim/lifecycle.h"
#include "sim/races/detector.h"
#include "sim/races/host_accesses.h"
#include "sim/schedule.h"
#include "sim/settings.h"
#include "sim/timing/virtual_time.h"

namespace storm::sim {
namespace {

constexpr auto kPatience = std::chrono::seconds(5);  // for kernels still running at exit

std::atomic<bool> g_enabled{false};

}  // namespace

void enable(const Config& config) {
  static std::mutex mutex;  // guards the first registration
  {
    std::lock_guard lock(mutex);
    if (!g_enabled) {
      settings().store(config);
      if (config.virtual_clock) virtual_time().turn_on();
      register_backend();
      watch_forks();
      std::atexit([] { shutdown(); });
      g_enabled = true;
    }
  }
  configure(config);
  start_autograd_threads();
}

bool enabled() noexcept {
  return g_enabled;
}

void configure(const Config& config) {
  TORCH_CHECK(g_enabled, "sim: call enable() before configure()");
  TORCH_CHECK_VALUE(config.devices == device_count(),
                    "sim: the first enable() fixed the number of "
                    "devices to ",
                    int{device_count()}, "; it cannot become ", config.devices);
  TORCH_CHECK_VALUE(config.virtual_clock == settings().virtual_clock,
                    "sim: the first enable() fixed the clock; it cannot change");
  TORCH_CHECK_VALUE(config.ghost == settings().ghost,
                    "sim: the first enable() fixed whether memory has contents; it cannot change");
  settings().store(config);
  if (config.races != detector().on()) detector().turn(config.races);
  watch_host_accesses(config.races);
}

Config current_config() {
  return settings().load();
}

void enqueue(const c10::Stream& stream, std::function<void()> fn) {
  stream_of(stream).push(Task(TaskKind::kernel, "enqueue", std::move(fn)), {}, {});
}

Stall::Stall(const c10::Stream& stream, double factor) : stream_(stream), previous_(1) {
  TORCH_CHECK_VALUE(std::isfinite(factor) && factor >= 1,
                    "sim: a stalled stream is slower by a factor of at least 1; got ", factor);
  previous_ = stream_of(stream).slow_down(factor);
}

Stall::~Stall() {
  stream_of(stream_).slow_down(previous_);
}

Fuzz::Fuzz(uint64_t seed, std::chrono::nanoseconds max_delay) {
  schedule().begin(seed, max_delay);
}

Fuzz::~Fuzz() {
  schedule().end();
}

void shutdown() noexcept {
  if (!running()) return;
  begin_halt();
  const auto deadline = Clock::now() + kPatience;
  for (DeviceIndex i = 0; i < device_count(); ++i) device(i).quiesce(deadline);
}

}  // namespace storm::sim
