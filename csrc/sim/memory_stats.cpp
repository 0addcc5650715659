#include "sim/memory_stats.h"

namespace storm::sim {
namespace {

using c10::CachingAllocator::Stat;
using c10::CachingAllocator::StatArray;
using c10::CachingAllocator::StatType;

constexpr auto kTotal = static_cast<size_t>(StatType::AGGREGATE);

size_t pool_of(bool small) {
  return static_cast<size_t>(small ? StatType::SMALL_POOL : StatType::LARGE_POOL);
}

void increase(StatArray& stat, size_t amount, bool small) {
  stat[kTotal].increase(amount);
  stat[pool_of(small)].increase(amount);
}

void decrease(StatArray& stat, size_t amount, bool small) {
  stat[kTotal].decrease(amount);
  stat[pool_of(small)].decrease(amount);
}

template <class Change>
void for_each(MemoryStats::DeviceStats& s, Change change) {
  for (auto* array :
       {&s.allocation, &s.segment, &s.active, &s.inactive_split, &s.allocated_bytes,
        &s.reserved_bytes, &s.active_bytes, &s.inactive_split_bytes, &s.requested_bytes}) {
    for (Stat& stat : *array) change(stat);
  }
}

}  // namespace

void MemoryStats::segment_added(size_t bytes, bool small) {
  increase(stats_.segment, 1, small);
  increase(stats_.reserved_bytes, bytes, small);
  ++stats_.num_device_alloc;
}

void MemoryStats::segment_removed(size_t bytes, bool small) {
  decrease(stats_.segment, 1, small);
  decrease(stats_.reserved_bytes, bytes, small);
  ++stats_.num_device_free;
}

void MemoryStats::block_taken(size_t bytes, size_t requested, bool small) {
  increase(stats_.allocation, 1, small);
  increase(stats_.allocated_bytes, bytes, small);
  increase(stats_.active, 1, small);
  increase(stats_.active_bytes, bytes, small);
  increase(stats_.requested_bytes, requested, small);
}

void MemoryStats::block_freed(size_t bytes, size_t requested, bool small) {
  decrease(stats_.allocation, 1, small);
  decrease(stats_.allocated_bytes, bytes, small);
  decrease(stats_.requested_bytes, requested, small);
}

void MemoryStats::block_retired(size_t bytes, bool small) {
  decrease(stats_.active, 1, small);
  decrease(stats_.active_bytes, bytes, small);
}

void MemoryStats::rest_added(size_t bytes, bool small) {
  increase(stats_.inactive_split, 1, small);
  increase(stats_.inactive_split_bytes, bytes, small);
}

void MemoryStats::rest_removed(size_t bytes, bool small) {
  decrease(stats_.inactive_split, 1, small);
  decrease(stats_.inactive_split_bytes, bytes, small);
}

size_t MemoryStats::allocated() const noexcept {
  return static_cast<size_t>(stats_.allocated_bytes[kTotal].current);
}

size_t MemoryStats::reserved() const noexcept {
  return static_cast<size_t>(stats_.reserved_bytes[kTotal].current);
}

void MemoryStats::reset_peaks() {
  for_each(stats_, [](Stat& stat) { stat.reset_peak(); });
}

void MemoryStats::reset_accumulated() {
  for_each(stats_, [](Stat& stat) { stat.reset_accumulated(); });
  stats_.num_alloc_retries = stats_.num_ooms = stats_.num_sync_all_streams = 0;
  stats_.num_device_alloc = stats_.num_device_free = 0;
}

}  // namespace storm::sim
