#include "engine/stats.h"

namespace storm {

void StatsCounters::add(Pair& pair, size_t bytes) noexcept {
  pair.tensors.fetch_add(1, std::memory_order_relaxed);
  pair.bytes.fetch_add(bytes, std::memory_order_relaxed);
}

void StatsCounters::keep(KeepReason reason, size_t bytes) noexcept {
  add(kept_[static_cast<size_t>(reason)], bytes);
}

EngineStats StatsCounters::snapshot() const noexcept {
  auto read = [](const std::atomic<uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
  };
  EngineStats stats;
  for (size_t i = 0; i < kept_.size(); ++i)
    stats.kept[i] = {read(kept_[i].tensors), read(kept_[i].bytes)};
  stats.offloaded_tensors = read(offloaded_.tensors);
  stats.offloaded_bytes = read(offloaded_.bytes);
  stats.packed_tensors = read(packed_.tensors);
  stats.packed_bytes = read(packed_.bytes);
  stats.shared_tensors = read(shared_.tensors);
  stats.shared_bytes = read(shared_.bytes);
  stats.fetched_tensors = read(fetched_.tensors);
  stats.fetched_bytes = read(fetched_.bytes);
  stats.returned_tensors = read(returned_.tensors);
  stats.returned_bytes = read(returned_.bytes);
  stats.late_fetches = read(late_);
  stats.prefetch_refusals = read(refused_);
  return stats;
}

}  // namespace storm
