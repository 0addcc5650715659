// The simulator's time. Everything that measures or waits for time goes through here, so that
// another clock can take its place.
#pragma once

#include <chrono>

namespace storm::sim {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

inline TimePoint now() noexcept {
  return Clock::now();
}

inline double seconds(Clock::duration span) {
  return std::chrono::duration<double>(span).count();
}

// Blocks the caller until `due`; returns early when the process halts.
void sleep_until(TimePoint due);

// Blocks the caller for a time that may be too short to sleep accurately.
void pause_for(Clock::duration span);

// Ends every present and future sleep.
void wake_sleepers() noexcept;

}  // namespace storm::sim
