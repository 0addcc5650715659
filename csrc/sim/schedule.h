// When things happen on purpose: seeded delays of tasks, and event queries that answer late.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "sim/clock.h"
#include "sim/event.h"

namespace storm::sim {

// A stream's place in the present fuzz context. Guarded by the stream's lock.
struct FuzzPosition {
  uint64_t context = 0;  // which fuzz context the rest belongs to; 0 means none
  uint64_t stream = 0;   // how-manieth stream to be used in it
  uint64_t next = 0;     // tasks so far
};

class Schedule {
 public:
  void begin(uint64_t seed, std::chrono::nanoseconds max_delay);  // raises if one is in force
  void end() noexcept;

  // The delay of the next kernel or copy of a stream; most are none, few are long.
  std::chrono::nanoseconds next_delay(int device, FuzzPosition& position) noexcept;

  // The sum of all delays given out since begin().
  std::chrono::nanoseconds given() const noexcept { return std::chrono::nanoseconds(given_ns_); }

  // Whether the host may learn that `marker` is reached. It may answer late, but never takes back
  // what the host knows already.
  bool reveals(const Marker& marker) noexcept;

  // The host has learnt that all that was reached up to `when` is over.
  void learn(TimePoint when) noexcept;

 private:
  std::atomic<uint64_t> context_{0};  // 0: no fuzz; else a number of its own
  std::atomic<uint64_t> seed_{0};
  std::atomic<int64_t> max_ns_{0};
  std::atomic<int64_t> given_ns_{0};
  std::atomic<uint64_t> queries_{0};
  std::atomic<uint64_t> streams_{0};
  std::atomic<Clock::rep> known_until_{0};
};

Schedule& schedule() noexcept;

}  // namespace storm::sim
