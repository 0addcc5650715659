#include "sim/timing/timeline.h"

namespace storm::sim {

void Timeline::start() {
  std::lock_guard lock(mutex_);
  spans_.clear();
  memory_.clear();
  on_ = true;
}

void Timeline::add(const Span& span) {
  std::lock_guard lock(mutex_);
  spans_.push_back(span);
}

void Timeline::add(const MemoryPoint& point) {
  std::lock_guard lock(mutex_);
  memory_.push_back(point);
}

std::vector<Span> Timeline::spans() const {
  std::lock_guard lock(mutex_);
  return spans_;
}

std::vector<MemoryPoint> Timeline::memory() const {
  std::lock_guard lock(mutex_);
  return memory_;
}

Timeline& timeline() noexcept {
  static auto* instance = new Timeline;
  return *instance;
}

}  // namespace storm::sim
