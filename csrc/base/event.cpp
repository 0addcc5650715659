#include "base/event.h"

#include <map>
#include <mutex>
#include <tuple>
#include <vector>

#include "base/blocking_region.h"
#include "base/process.h"

namespace storm {
namespace {

// Making a device's event is a driver call; a used one can be recorded again. Who waits for the
// earlier recording is not affected.
class Spares {
 public:
  std::unique_ptr<c10::Event> take(const c10::Stream& stream, c10::EventFlag flag) {
    std::lock_guard lock(mutex_);
    auto& spares = spares_[{stream.device_type(), stream.device_index(), flag}];
    if (spares.empty()) return nullptr;
    auto event = std::move(spares.back());
    spares.pop_back();
    return event;
  }

  void give(std::unique_ptr<c10::Event> event) {
    std::lock_guard lock(mutex_);
    auto& spares = spares_[{event->device_type(), event->device_index(), event->flag()}];
    if (spares.size() < kMost) spares.push_back(std::move(event));
  }

 private:
  static constexpr size_t kMost = 4096;  // of each kind
  using Kind = std::tuple<c10::DeviceType, c10::DeviceIndex, c10::EventFlag>;
  std::mutex mutex_;  // guards spares_
  std::map<Kind, std::vector<std::unique_ptr<c10::Event>>> spares_;
};

Spares& spares() {
  static auto* all = new Spares;  // never destroyed: the device may be gone by then
  return *all;
}

}  // namespace

void Event::Recycle::operator()(c10::Event* event) const noexcept {
  if (process_exiting()) return;  // abandoned
  std::unique_ptr<c10::Event> owned(event);
  try {
    spares().give(std::move(owned));
  } catch (...) {  // no memory for the list: the event is destroyed
  }
}

Event Event::record(const c10::Stream& stream, Timing timing) {
  const auto flag =
      timing == Timing::yes ? c10::EventFlag::BACKEND_DEFAULT : c10::EventFlag::PYTORCH_DEFAULT;
  auto event = spares().take(stream, flag);
  if (!event) event = std::make_unique<c10::Event>(stream.device_type(), flag);
  event->record(stream);
  return Event({event.release(), {}});
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
