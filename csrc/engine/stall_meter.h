#pragma once
#include <c10/core/Stream.h>

#include <deque>
#include <mutex>

#include "base/event.h"
#include "engine/recorder.h"

namespace storm {

// Makes a stream wait for an event and measures, by two timed events around the wait, how long the
// stream stood still. Does not synchronise: they are read when they are over. Thread-safe.
class StallMeter {
 public:
  explicit StallMeter(bool enabled) : enabled_(enabled) {}
  void wait(const c10::Stream& stream, const Event& event, StallCause cause, Label label);
  // Of the waits that are over. Does not synchronise.
  double seconds();

 private:
  void collect_locked();

  static constexpr size_t kCollectAt = 256;  // stretches kept before the finished ones are added up
  const bool enabled_;
  std::mutex mutex_;  // guards what follows
  std::deque<StretchRef> open_;
  double seconds_ = 0;
};

}  // namespace storm
