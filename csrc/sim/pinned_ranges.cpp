#include "sim/pinned_ranges.h"

#include <iterator>
#include <mutex>

#include "sim/counters.h"

namespace storm::sim {

void PinnedRanges::add(const void* begin, size_t bytes) {
  {
    std::lock_guard lock(mutex_);
    ranges_.emplace(reinterpret_cast<uintptr_t>(begin), bytes);
  }
  counters().add_pinned(static_cast<int64_t>(bytes));
}

void PinnedRanges::remove(const void* begin) {
  size_t bytes = 0;
  {
    std::lock_guard lock(mutex_);
    const auto found = ranges_.find(reinterpret_cast<uintptr_t>(begin));
    if (found == ranges_.end()) return;
    bytes = found->second;
    ranges_.erase(found);
  }
  counters().add_pinned(-static_cast<int64_t>(bytes));
}

bool PinnedRanges::contains(const void* address) const {
  const auto byte = reinterpret_cast<uintptr_t>(address);
  std::shared_lock lock(mutex_);
  const auto after = ranges_.upper_bound(byte);
  if (after == ranges_.begin()) return false;
  const auto& [begin, bytes] = *std::prev(after);
  return byte < begin + bytes;
}

PinnedRanges& pinned_ranges() noexcept {
  static auto* instance = new PinnedRanges;
  return *instance;
}

}  // namespace storm::sim
