#include "sim/clock.h"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace storm::sim {
namespace {

constexpr auto kTooShortToSleep = std::chrono::microseconds(100);

struct Sleepers {
  std::mutex mutex;  // guards awake
  std::condition_variable changed;
  bool awake = false;
};

Sleepers& sleepers() {
  static auto* instance = new Sleepers;
  return *instance;
}

}  // namespace

void raise_virtual_ns(int64_t at_least) noexcept {
  auto& present = detail::g_virtual_ns;
  int64_t seen = present.load(std::memory_order_relaxed);
  while (seen < at_least && !present.compare_exchange_weak(seen, at_least)) {
  }
}

void make_clock_virtual() noexcept {
  detail::g_virtual = true;
}

void sleep_until(TimePoint due) {
  auto& s = sleepers();
  std::unique_lock lock(s.mutex);
  s.changed.wait_until(lock, due, [&s] { return s.awake; });
}

void pause_for(Clock::duration span) {
  const TimePoint due = Clock::now() + span;
  if (span >= kTooShortToSleep) return sleep_until(due);
  while (Clock::now() < due) std::this_thread::yield();
}

void wake_sleepers() noexcept {
  auto& s = sleepers();
  {
    std::lock_guard lock(s.mutex);
    s.awake = true;
  }
  s.changed.notify_all();
}

}  // namespace storm::sim
