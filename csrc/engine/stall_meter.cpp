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
  // From the front only: a look at every pair would cost more the further the host runs ahead.
  while (!open_.empty() && open_.front().after.done()) {
    seconds_ += std::max(0.0, open_.front().after.seconds_since(open_.front().before));
    open_.pop_front();
  }
}

double StallMeter::seconds() {
  std::lock_guard lock(mutex_);
  collect_locked();
  return seconds_;
}

}  // namespace storm
