#include "base/event.h"

#include "base/blocking_region.h"
#include "base/process.h"

namespace storm {

void Event::Abandon::operator()(c10::Event* event) const noexcept {
  if (!process_exiting()) delete event;
}

Event Event::record(const c10::Stream& stream, Timing timing) {
  auto flag =
      timing == Timing::yes ? c10::EventFlag::BACKEND_DEFAULT : c10::EventFlag::PYTORCH_DEFAULT;
  std::unique_ptr<c10::Event, Abandon> event(new c10::Event(stream.device_type(), flag));
  event->record(stream);
  return Event(std::move(event));
}

void Event::block(const c10::Stream& stream) const {
  event_->block(stream);
}

bool Event::done() const {
  return event_->query();
}

void Event::synchronize() const {
  BlockingRegion region;
  event_->synchronize();
}

double Event::seconds_since(const Event& earlier) const {
  return earlier.event_->elapsedTime(*event_) / 1e3;
}

}  // namespace storm
