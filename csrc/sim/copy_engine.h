// One direction of the link between host and device: a single lane with a set bandwidth.
#pragma once

#include <c10/util/FunctionRef.h>

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "sim/clock.h"
#include "sim/counters.h"

namespace storm::sim {

class CopyEngine {
 public:
  explicit CopyEngine(LinkCounters& counters) : counters_(counters) {}
  CopyEngine(const CopyEngine&) = delete;
  CopyEngine& operator=(const CopyEngine&) = delete;

  // Moves bytes [0, bytes) in pieces by calling move(begin, end), no faster than `rate` bytes per
  // second (0: unthrottled). Blocks the calling stream's thread; streams take turns in the order
  // in which they reach the engine. No lock is held while bytes move.
  void transfer(size_t bytes, double rate, c10::function_ref<void(size_t, size_t)> move);

 private:
  class Turn;

  LinkCounters& counters_;
  std::mutex mutex_;  // guards next_ticket_ and serving_
  std::condition_variable changed_;
  uint64_t next_ticket_ = 0;
  uint64_t serving_ = 0;
  TimePoint free_at_{};  // touched only by the stream whose turn it is
};

}  // namespace storm::sim
