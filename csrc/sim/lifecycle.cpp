#include "sim/lifecycle.h"

#include <c10/util/Exception.h>
#include <pthread.h>

#include <atomic>
#include <mutex>

#include "sim/clock.h"

namespace storm::sim {
namespace {

std::atomic<Phase> g_phase{Phase::running};

void mark_forked_child() {
  g_phase.store(Phase::forked);
}

}  // namespace

Phase phase() noexcept {
  return g_phase.load(std::memory_order_acquire);
}

void check_usable() {
  TORCH_CHECK(phase() != Phase::forked,
              "sim: the simulated accelerator cannot be used in a forked child process, whose "
              "streams stayed with the parent; start the process with the 'spawn' method");
}

void check_not_halting() {
  TORCH_CHECK(phase() != Phase::halting, "sim: the device is shut down, the process is ending");
}

void begin_halt() noexcept {
  Phase expected = Phase::running;
  if (g_phase.compare_exchange_strong(expected, Phase::halting)) wake_sleepers();
}

void watch_forks() {
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, mark_forked_child); });
}

}  // namespace storm::sim
