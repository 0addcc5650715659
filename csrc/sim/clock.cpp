#include "sim/clock.h"

#include <condition_variable>
#include <mutex>

namespace storm::sim {
namespace {

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

void wake_sleepers() noexcept {
  auto& s = sleepers();
  {
    std::lock_guard lock(s.mutex);
    s.awake = true;
  }
  s.changed.notify_all();
}

}  // namespace storm::sim
