#include "engine/stall_meter.h"

#include <algorithm>

namespace storm {

void StallMeter::wait(const c10::Stream& stream, const Event& event) {
  if (!enabled_) {
    event.block(stream);
    return;
  }
  auto before = Event::record(stream, Event::Timing::yes);
  event.block(stream);
  auto after = Event::record(stream, Event::Timing::yes);
  std::lock_guard lock(mutex_);
  open_.push_back({std::move(before), std::move(after)});
  if (open_.size() >= kCollectAt) collect_locked();
}

void StallMeter::collect_locked() {
  std::erase_if(open_, [this](const Pair& pair) {
    if (!pair.after.done()) return false;
    seconds_ += std::max(0.0, pair.after.seconds_since(pair.before));
    return true;
  });
}

double StallMeter::seconds() {
  std::lock_guard lock(mutex_);
  collect_locked();
  return seconds_;
}

}  // namespace storm
