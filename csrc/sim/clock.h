// The simulator's time: the computer's own, or a virtual one that only moves when it is moved.
// Everything that measures or waits for time goes through here.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace storm::sim {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;

namespace detail {
inline constinit std::atomic<bool> g_virtual{false};
inline constinit std::atomic<int64_t> g_virtual_ns{0};
}  // namespace detail

inline bool clock_is_virtual() noexcept {
  return detail::g_virtual.load(std::memory_order_relaxed);
}
inline int64_t virtual_ns() noexcept {
  return detail::g_virtual_ns.load(std::memory_order_relaxed);
}
inline void add_virtual_ns(int64_t span) noexcept {
  detail::g_virtual_ns.fetch_add(span, std::memory_order_relaxed);
}
void raise_virtual_ns(int64_t at_least) noexcept;
void make_clock_virtual() noexcept;  // for good

inline TimePoint at_ns(int64_t ns) noexcept {
  return TimePoint(std::chrono::nanoseconds(ns));
}

inline TimePoint now() noexcept {
  return clock_is_virtual() ? at_ns(virtual_ns()) : Clock::now();
}

inline double seconds(Clock::duration span) {
  return std::chrono::duration<double>(span).count();
}

// Blocks the caller until `due`, by the computer's clock; returns early when the process halts.
void sleep_until(TimePoint due);

// Blocks the caller for a time that may be too short to sleep accurately, by the computer's clock.
void pause_for(Clock::duration span);

// Ends every present and future sleep.
void wake_sleepers() noexcept;

}  // namespace storm::sim
