#include "sim/event.h"

namespace storm::sim {

void Marker::reach() {
  {
    std::lock_guard lock(mutex_);
    time_ = now();
    reached_.store(true, std::memory_order_release);
  }
  changed_.notify_all();
}

void Marker::wait() const {
  if (due_) return raise_virtual_ns(due_->time_since_epoch().count());
  if (reached()) return;
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return reached(); });
}

bool Marker::wait_for(Clock::duration patience) const {
  if (reached()) return true;
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [this] { return reached(); });
}

TimePoint Marker::time() const {
  if (due_) return *due_;
  std::lock_guard lock(mutex_);
  return time_;
}

}  // namespace storm::sim
