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

void sleep_until(TimePoint due) {
  auto& s = sleepers();
  std::unique_lock lock(s.mutex);
  s.changed.wait_until(lock, due, [&s] { return s.awake; });
}

void pause_for(Clock::duration span) {
  const TimePoint due = now() + span;
  if (span >= kTooShortToSleep) return sleep_until(due);
  while (now() < due) std::this_thread::yield();
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
