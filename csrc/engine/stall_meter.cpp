#include "engine/stall_meter.h"

namespace storm {

void StallMeter::wait(const c10::Stream& stream, const EventRef& event, StallCause cause,
                      Label label) {
  const auto recorder = Recorder::active();
  if (!enabled_ && !recorder) {
    event->block(stream);
    return;
  }
  const auto record = [&] {
    return std::make_shared<const Event>(Event::record(stream, Event::Timing::yes));
  };
  Stretch stretch{record(), event};
  event->block(stream);
  if (!event->timed()) stretch.end = record();  // from before somebody wanted to know
  if (recorder) recorder->stalled(stream, cause, label, stretch);
  if (!enabled_) return;
  std::lock_guard lock(mutex_);
  open_.push_back(std::move(stretch));
  if (open_.size() >= kCollectAt) collect_locked();
}

void StallMeter::collect_locked() {
  // From the front only: a look at every pair would cost more the further the host runs ahead.
  while (!open_.empty() && open_.front().over()) {
    seconds_ += open_.front().seconds();
    open_.pop_front();
  }
}

double StallMeter::seconds() {
  std::lock_guard lock(mutex_);
  collect_locked();
  return seconds_;
}

}  // namespace storm
