#include "host/pinned_pool.h"

#include <algorithm>
#include <bit>

#include "base/bytes.h"
#include "base/check.h"
#include "base/process.h"

namespace storm {

std::shared_ptr<PinnedMemoryPool> PinnedMemoryPool::create(std::shared_ptr<HostMemorySource> source,
                                                           PoolConfig config) {
  TORCH_CHECK_VALUE(std::has_single_bit(config.slab_bytes) && config.slab_bytes >= 4096,
                    "slab_bytes must be a power of two of at least 4096, got ", config.slab_bytes);
  return std::shared_ptr<PinnedMemoryPool>(new PinnedMemoryPool(std::move(source), config));
}

PinnedMemoryPool::PinnedMemoryPool(std::shared_ptr<HostMemorySource> source, PoolConfig config)
    : source_(std::move(source)), config_(config) {}

PinnedMemoryPool::~PinnedMemoryPool() {
  // Buffers own the pool, so only deferred ranges can be left; their copies may still be running.
  for (auto& deferred : deferred_) {
    for (auto& event : deferred.events) {
      try {
        if (!process_exiting()) event->synchronize();
      } catch (...) {  // a lost device: nothing runs any more
      }
    }
  }
  if (!process_exiting()) return;
  for (auto* shelf : {&pinned_, &pageable_}) {
    for (auto& slab : shelf->slabs) slab.data.release_context();
  }
}

// Whole slabs while they fit under the cap; then what the cap still allows, since a slab is only a
// convenience.
size_t PinnedMemoryPool::next_slab_bytes(size_t bytes) const {
  const size_t room = config_.cap_bytes - reserved_bytes_;
  const size_t wanted = std::bit_ceil(std::max(bytes, config_.slab_bytes));
  if (wanted <= room) return wanted;
  const size_t least = std::bit_ceil(round_up(bytes, BestFit::kGranule));
  if (least > room) return 0;
  return std::bit_floor(room);
}

std::optional<PinnedMemoryBuffer> PinnedMemoryPool::take_locked(size_t bytes) {
  for (bool pinned : {true, false}) {
    if (auto* data = shelf(pinned).ranges.allocate(bytes)) {
      const size_t live = pinned_.ranges.used_bytes() + pageable_.ranges.used_bytes();
      counters_.peak_live_bytes = std::max(counters_.peak_live_bytes, live);
      return PinnedMemoryBuffer(shared_from_this(), data, bytes, pinned);
    }
  }
  return std::nullopt;
}

std::optional<PinnedMemoryBuffer> PinnedMemoryPool::try_acquire(size_t bytes) {
  bytes = std::max<size_t>(bytes, 1);
  size_t slab_bytes = 0;
  {
    std::lock_guard lock(mutex_);
    reclaim_locked();
    if (auto buffer = take_locked(bytes)) {
      ++counters_.hits;
      return buffer;
    }
    slab_bytes = next_slab_bytes(bytes);
    if (slab_bytes == 0) {
      ++counters_.refusals;
      return std::nullopt;
    }
    reserved_bytes_ += slab_bytes;
    counters_.peak_slab_bytes = std::max(counters_.peak_slab_bytes, reserved_bytes_);
  }
  return grow(bytes, slab_bytes);
}

std::optional<PinnedMemoryBuffer> PinnedMemoryPool::grow(size_t bytes, size_t slab_bytes) {
  bool pinned = true;
  at::DataPtr data;
  try {
    data = source_->allocate_pinned(slab_bytes);
  } catch (const c10::Error&) {
    pinned = false;
    try {
      data = source_->allocate_pageable(slab_bytes);
    } catch (const c10::Error&) {
      std::lock_guard lock(mutex_);
      reserved_bytes_ -= slab_bytes;
      ++counters_.pin_failures;
      ++counters_.refusals;
      return std::nullopt;
    }
  }
  std::lock_guard lock(mutex_);
  auto& shelf = this->shelf(pinned);
  shelf.ranges.add_span(static_cast<std::byte*>(data.get()), slab_bytes);
  shelf.slabs.push_back({std::move(data), slab_bytes});
  shelf.slab_bytes += slab_bytes;
  ++counters_.misses;
  counters_.pin_failures += pinned ? 0 : 1;
  return take_locked(bytes);
}

void PinnedMemoryPool::release(std::byte* data, bool pinned) noexcept {
  std::lock_guard lock(mutex_);
  shelf(pinned).ranges.release(data);
}

void PinnedMemoryPool::recycle_after(PinnedMemoryBuffer&& buffer, std::vector<EventRef> events) {
  auto keep_alive = buffer.pool_;
  const bool pinned = buffer.pinned_;
  std::lock_guard lock(mutex_);
  deferred_.push_back({nullptr, pinned, std::move(events)});
  deferred_.back().data = buffer.disown();
}

// Queries, never waits: a query is allowed under the lock.
void PinnedMemoryPool::reclaim_locked() {
  std::erase_if(deferred_, [this](Deferred& deferred) {
    std::erase_if(deferred.events, [](const EventRef& event) { return event->done(); });
    if (!deferred.events.empty()) return false;
    shelf(deferred.pinned).ranges.release(deferred.data);
    return true;
  });
}

bool PinnedMemoryPool::wait_for_oldest() {
  std::optional<Deferred> oldest;
  {
    std::lock_guard lock(mutex_);
    if (deferred_.empty()) return false;
    oldest = std::move(deferred_.front());
    deferred_.pop_front();
  }
  for (auto& event : oldest->events) event->synchronize();
  release(oldest->data, oldest->pinned);
  return true;
}

void PinnedMemoryPool::trim() {
  std::vector<Slab> free_slabs;  // freed after the lock: freeing calls torch's allocators
  std::lock_guard lock(mutex_);
  reclaim_locked();
  for (auto* shelf : {&pinned_, &pageable_}) {
    std::erase_if(shelf->slabs, [&](Slab& slab) {
      if (!shelf->ranges.remove_span(static_cast<std::byte*>(slab.data.get()))) return false;
      shelf->slab_bytes -= slab.bytes;
      reserved_bytes_ -= slab.bytes;
      free_slabs.push_back(std::move(slab));
      return true;
    });
  }
}

PoolStats PinnedMemoryPool::stats() {
  std::lock_guard lock(mutex_);
  reclaim_locked();
  PoolStats stats = counters_;
  stats.pinned_bytes = pinned_.slab_bytes;
  stats.pageable_bytes = pageable_.slab_bytes;
  stats.live_bytes = pinned_.ranges.used_bytes() + pageable_.ranges.used_bytes();
  return stats;
}

void PinnedMemoryPool::reset_peaks() {
  std::lock_guard lock(mutex_);
  counters_.peak_live_bytes = pinned_.ranges.used_bytes() + pageable_.ranges.used_bytes();
  counters_.peak_slab_bytes = reserved_bytes_;
}

void PinnedMemoryPool::check_invariants() {
  std::lock_guard lock(mutex_);
  size_t slab_sum = 0;
  for (auto* shelf : {&pinned_, &pageable_}) {
    shelf->ranges.check_invariants();
    STORM_INVARIANT(shelf->ranges.used_bytes() + shelf->ranges.free_bytes() == shelf->slab_bytes,
                    "ranges do not tile the slabs.");
    slab_sum += shelf->slab_bytes;
  }
  STORM_INVARIANT(slab_sum <= reserved_bytes_ && reserved_bytes_ <= config_.cap_bytes,
                  "slabs hold ", format_bytes(reserved_bytes_), " under a cap of ",
                  format_bytes(config_.cap_bytes), ".");
}

}  // namespace storm
