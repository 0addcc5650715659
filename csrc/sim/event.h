// Events. Each record of an event makes a new Marker, so a waiter keeps waiting for the moment it
// asked for, whatever is recorded later.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "sim/clock.h"

namespace storm::sim {

// One moment in the life of one stream: it comes once.
class Marker {
 public:
  void reach();
  bool reached() const noexcept { return reached_.load(std::memory_order_acquire); }
  void wait() const;                              // blocks the calling thread
  bool wait_for(Clock::duration patience) const;  // false if it was not reached in time
  TimePoint time() const;                         // only after reached()

 private:
  mutable std::mutex mutex_;  // guards time_ and changes of reached_
  mutable std::condition_variable changed_;
  std::atomic<bool> reached_{false};
  TimePoint time_{};
};

using MarkerRef = std::shared_ptr<Marker>;

}  // namespace storm::sim
