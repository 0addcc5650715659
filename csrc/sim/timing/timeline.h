// What ran when, and how much memory was taken, for plots. Recorded on request, in virtual time.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "sim/timing/work.h"

namespace storm::sim {

struct Span {
  Unit unit;
  const char* name;
  int64_t stream;
  int64_t begin_ns;
  int64_t end_ns;
  int64_t bytes;
};

struct MemoryPoint {
  int64_t ns;  // by the host's clock
  int64_t allocated;
  int64_t reserved;
};

class Timeline {
 public:
  bool on() const noexcept { return on_.load(std::memory_order_relaxed); }
  void start();  // empty
  void stop() noexcept { on_ = false; }

  void add(const Span& span);
  void add(const MemoryPoint& point);
  std::vector<Span> spans() const;
  std::vector<MemoryPoint> memory() const;

 private:
  std::atomic<bool> on_{false};
  mutable std::mutex mutex_;  // guards what follows
  std::vector<Span> spans_;
  std::vector<MemoryPoint> memory_;
};

Timeline& timeline() noexcept;

}  // namespace storm::sim
