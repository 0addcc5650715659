// What a device's memory holds, in the terms of torch.accelerator.memory_stats().
#pragma once

#include <c10/core/CachingDeviceAllocator.h>

#include <cstddef>

namespace storm::sim {

// Not thread-safe: the allocator's lock covers it.
class MemoryStats {
 public:
  using DeviceStats = c10::CachingDeviceAllocator::DeviceStats;

  // Each is counted in its pool and in the total.
  void segment_added(size_t bytes, bool small);
  void segment_removed(size_t bytes, bool small);
  void block_taken(size_t bytes, size_t requested, bool small);
  void block_freed(size_t bytes, size_t requested, bool small);  // by its user
  void block_retired(size_t bytes, bool small);                  // by all streams too
  void rest_added(size_t bytes, bool small);  // free memory whose segment is in use
  void rest_removed(size_t bytes, bool small);

  void retried() { ++stats_.num_alloc_retries; }
  void waited_for_streams() { ++stats_.num_sync_all_streams; }
  void ran_out() { ++stats_.num_ooms; }

  size_t allocated() const noexcept;
  size_t reserved() const noexcept;
  const DeviceStats& all() const noexcept { return stats_; }
  void reset_peaks();
  void reset_accumulated();

 private:
  DeviceStats stats_;
};

}  // namespace storm::sim
