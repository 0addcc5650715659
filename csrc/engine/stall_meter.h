#pragma once
#include <c10/core/Stream.h>

#include <deque>
#include <mutex>

#include "base/event.h"
#include "engine/recorder.h"

namespace storm {

// Makes a stream wait for an event and measures how long the stream stood still: from a timed event
// before the wait to the awaited one. Does not synchronise: both are read when they are over.
// Thread-safe.
class StallMeter {
 public:
  explicit StallMeter(bool enabled) : enabled_(enabled) {}
  void wait(const c10::Stream& stream, const EventRef& event, StallCause cause, Label label);
  // For events that will be waited for.
  Event::Timing timing() const { return enabled_ ? Event::Timing::yes : Event::Timing::no; }
  // Of the waits that are over. Does not synchronise.
  double seconds();

 private:
  void collect_locked();

  static constexpr size_t kCollectAt = 256;  // stretches kept before the finished ones are added up
  const bool enabled_;
  std::mutex mutex_;  // guards what follows
  std::deque<Stretch> open_;
  double seconds_ = 0;
};

}  // namespace storm
