// What the process is doing, as far as kernels are concerned.
#pragma once

namespace storm::sim {

enum class Phase {
  running,
  halting,  // at exit: no task starts any more, waits return at once
  forked,   // a child of fork(): the stream threads stayed with the parent
};

Phase phase() noexcept;
inline bool running() noexcept {
  return phase() == Phase::running;
}

// Raises in a forked child, as CUDA does; quiet while halting.
void check_usable();

// Raises once the process is ending: a result asked for now would never come.
void check_not_halting();

// Leaves `running` for good and wakes all sleepers of clock.h.
void begin_halt() noexcept;

// Marks forked children; once per process.
void watch_forks();

}  // namespace storm::sim
