// Events. Each record of an event makes a new Marker, so a waiter keeps waiting for the moment it
// asked for, whatever is recorded later.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "sim/clock.h"
#include "sim/races/vector_clock.h"

namespace storm::sim {

// One moment in the life of one stream: it comes once.
class Marker {
 public:
  explicit Marker(Moment known = nullptr) : known_(std::move(known)) {}
  Marker(Moment known, TimePoint due) : known_(std::move(known)), due_(due) {}  // in virtual time

  void reach();
  bool reached() const noexcept {
    return due_ ? *due_ <= now() : reached_.load(std::memory_order_acquire);
  }
  void wait() const;                              // blocks the calling thread
  bool wait_for(Clock::duration patience) const;  // false if it was not reached in time
  TimePoint time() const;                         // only after reached(), or if it has a due time

  bool has_due_time() const noexcept { return due_.has_value(); }

  // What is over once it is reached, for the race detector; null if that was off.
  const Moment& known() const noexcept { return known_; }

 private:
  const Moment known_;
  const std::optional<TimePoint> due_;
  mutable std::mutex mutex_;  // guards time_ and changes of reached_
  mutable std::condition_variable changed_;
  std::atomic<bool> reached_{false};
  TimePoint time_{};
};

using MarkerRef = std::shared_ptr<Marker>;

}  // namespace storm::sim
