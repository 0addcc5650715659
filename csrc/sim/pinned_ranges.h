// Which host addresses are pinned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <shared_mutex>

namespace storm::sim {

class PinnedRanges {
 public:
  void add(const void* begin, size_t bytes);
  void remove(const void* begin);

  // True for any address inside a pinned range, not only for its first.
  bool contains(const void* address) const;

 private:
  mutable std::shared_mutex mutex_;     // guards ranges_
  std::map<uintptr_t, size_t> ranges_;  // begin -> bytes; disjoint
};

PinnedRanges& pinned_ranges() noexcept;

}  // namespace storm::sim
