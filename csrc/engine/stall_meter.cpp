#include "engine/stall_meter.h"

#include <algorithm>

namespace storm {

void StallMeter::wait(const c10::Stream& stream, const Event& event, StallCause cause,
                      Label label) {
  const auto recorder = Recorder::active();
  if (!enabled_ && !recorder) {
    event.block(stream);
    return;
  }
  auto before = Event::record(stream, Event::Timing::yes);
  event.block(stream);
  auto after = Event::record(stream, Event::Timing::yes);
  auto stretch = std::make_shared<const Stretch>(std::move(before), std::move(after));
  if (recorder) recorder->stalled(stream, cause, label, stretch);
  if (!enabled_) return;
  std::lock_guard lock(mutex_);
  open_.push_back(std::move(stretch));
  if (open_.size() >= kCollectAt) collect_locked();
}

void StallMeter::collect_locked() {
  // From the front only: a look at every pair would cost more the further the host runs ahead.
  while (!open_.empty() && open_.front()->end.done()) {
    seconds_ += std::max(0.0, open_.front()->end.seconds_since(open_.front()->begin));
    open_.pop_front();
  }
}

double StallMeter::seconds() {
  std::lock_guard lock(mutex_);
  collect_locked();
  return seconds_;
}

}  // namespace storm
