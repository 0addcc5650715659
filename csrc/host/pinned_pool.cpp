#include "host/pinned_pool.h"

#include <algorithm>
#include <bit>

#include "base/bytes.h"
#include "base/check.h"
#include "base/process.h"

namespace storm {
namespace {
// What a slab may be beyond need, as a share of the peak of live bytes: the bound on the overshoot.
constexpr size_t kAhead = 16;
// A buffer has at most about this many pieces, and a slab holds as many of the smallest.
constexpr size_t kPieces = 16;
constexpr size_t kPage = 4096;
constexpr size_t kPatience = 8;  // unfinished ranges looked past before a slab in hand is used
constexpr size_t kAbsurd = SIZE_MAX / 4;  // keeps the arithmetic below from wrapping
}  // namespace

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

size_t PinnedMemoryPool::live_locked() const {
  return pinned_.ranges.used_bytes() + pageable_.ranges.used_bytes();
}

// Small buffers may lie in small gaps, large ones need not be cut fine.
size_t PinnedMemoryPool::least_piece(size_t bytes) const {
  const size_t most = std::max(config_.slab_bytes / kPieces, kPage);
  return std::clamp(bytes / kPieces, kPage, most);
}

// What is missing, or a share of the peak if that is more: so few slabs are needed, and what they
// hold beyond need stays within that share. 0 when the cap has no room. See README.md, "Growth".
size_t PinnedMemoryPool::next_slab_locked(size_t bytes, Layout layout, bool pinned) {
  bytes = round_up(bytes, BestFit::kGranule);
  const bool whole = layout == Layout::one_piece;
  const size_t least = whole ? bytes : least_piece(bytes);
  const size_t need = whole ? bytes : shelf(pinned).ranges.missing(bytes, least);
  const size_t room = std::bit_floor(config_.cap_bytes - reserved_bytes_);
  if (need > config_.cap_bytes - reserved_bytes_) return 0;

  const size_t ahead = std::max(counters_.peak_live_bytes, live_locked() + bytes) / kAhead;
  const size_t smallest = std::max(config_.slab_bytes / 256, kPage);
  size_t slab = std::min(std::bit_floor(std::max({need, ahead, smallest})), config_.slab_bytes);
  if (slab < need && slab < least) slab = std::bit_ceil(need);  // no piece of its own
  slab = std::min(slab, room);
  return slab < need && slab < least ? 0 : slab;
}

std::optional<PinnedMemoryBuffer> PinnedMemoryPool::take_locked(size_t bytes, Layout layout) {
  for (bool pinned : {true, false}) {
    auto& ranges = shelf(pinned).ranges;
    if (ranges.free_bytes() < bytes) continue;
    const size_t least = layout == Layout::one_piece ? SIZE_MAX : least_piece(bytes);
    if (ranges.missing(bytes, least) != 0) continue;
    Pieces pieces;
    for (size_t rest = bytes; rest > 0; rest -= pieces.back().bytes) {
      const size_t piece = std::min(rest, ranges.largest_free());
      pieces.push_back({ranges.allocate(piece), piece});
    }
    counters_.peak_live_bytes = std::max(counters_.peak_live_bytes, live_locked());
    return PinnedMemoryBuffer(shared_from_this(), std::move(pieces), bytes, pinned);
  }
  return std::nullopt;
}

std::optional<PinnedMemoryBuffer> PinnedMemoryPool::try_acquire(size_t bytes, Layout layout) {
  bytes = std::max<size_t>(bytes, 1);
  bool pinned = true, grown = false;
  for (;;) {
    size_t slab_bytes = 0;
    {
      std::lock_guard lock(mutex_);
      reclaim_locked(kPatience);
      auto buffer = take_locked(bytes, layout);
      if (!buffer && !deferred_.empty()) {  // worth a look at all of them
        reclaim_locked();
        buffer = take_locked(bytes, layout);
      }
      if (buffer) {
        ++(grown ? counters_.misses : counters_.hits);
        return buffer;
      }
      if (bytes < kAbsurd) slab_bytes = next_slab_locked(bytes, layout, pinned);
      if (slab_bytes == 0) {
        ++counters_.refusals;
        return std::nullopt;
      }
      reserved_bytes_ += slab_bytes;
      counters_.peak_slab_bytes = std::max(counters_.peak_slab_bytes, reserved_bytes_);
    }
    auto got_pinned = add_slab(slab_bytes);
    if (!got_pinned) return std::nullopt;
    pinned = *got_pinned;
    grown = true;
  }
}

// Of memory reserved before. Says whether it is pinned; nothing, counted, when there is none.
std::optional<bool> PinnedMemoryPool::add_slab(size_t bytes) {
  bool pinned = true;
  at::DataPtr data;
  try {
    data = source_->allocate_pinned(bytes);
  } catch (const c10::Error&) {
    pinned = false;
    try {
      data = source_->allocate_pageable(bytes);
    } catch (const c10::Error&) {
      std::lock_guard lock(mutex_);
      reserved_bytes_ -= bytes;
      ++counters_.pin_failures;
      ++counters_.refusals;
      return std::nullopt;
    }
  }
  std::lock_guard lock(mutex_);
  auto& shelf = this->shelf(pinned);
  shelf.ranges.add_span(static_cast<std::byte*>(data.get()), bytes);
  shelf.slabs.push_back({std::move(data), bytes});
  shelf.slab_bytes += bytes;
  ++counters_.slabs;
  counters_.pin_failures += pinned ? 0 : 1;
  return pinned;
}

void PinnedMemoryPool::release_locked(const Pieces& pieces, bool pinned) {
  for (const auto& piece : pieces) shelf(pinned).ranges.release(piece.data);
}

void PinnedMemoryPool::release(const Pieces& pieces, bool pinned) noexcept {
  std::lock_guard lock(mutex_);
  release_locked(pieces, pinned);
}

void PinnedMemoryPool::recycle_after(PinnedMemoryBuffer&& buffer, std::vector<EventRef> events) {
  auto keep_alive = buffer.pool_;
  std::lock_guard lock(mutex_);
  deferred_.push_back({next_ticket_++, buffer.pieces_, buffer.pinned_, std::move(events)});
  buffer.pool_.reset();
}

// Queries, never waits: a query is allowed under the lock. One that throws leaves the books right.
// Looks past so many ranges that are not free yet: the further the host runs ahead, the more.
void PinnedMemoryPool::reclaim_locked(size_t patience) {
  for (auto deferred = deferred_.begin(); deferred != deferred_.end();) {
    auto& events = deferred->events;
    while (!events.empty() && events.back()->done()) events.pop_back();
    if (events.empty()) {
      release_locked(deferred->pieces, deferred->pinned);
      deferred = deferred_.erase(deferred);
    } else {
      if (patience-- == 0) return;
      ++deferred;
    }
  }
}

// The entry stays in the list meanwhile, so that other threads see that there is something to wait
// for, and so that nothing is lost when waiting throws (some other work's error).
bool PinnedMemoryPool::wait_for_oldest() {
  std::vector<EventRef> events;
  uint64_t ticket = 0;
  {
    std::lock_guard lock(mutex_);
    if (deferred_.empty()) return false;
    events = deferred_.front().events;
    ticket = deferred_.front().ticket;
  }
  for (auto& event : events) event->synchronize();
  std::lock_guard lock(mutex_);
  auto oldest = std::find_if(deferred_.begin(), deferred_.end(),
                             [&](const Deferred& deferred) { return deferred.ticket == ticket; });
  if (oldest != deferred_.end()) {  // no other thread was faster
    release_locked(oldest->pieces, oldest->pinned);
    deferred_.erase(oldest);
  }
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
  stats.live_bytes = live_locked();
  return stats;
}

void PinnedMemoryPool::reset_peaks() {
  std::lock_guard lock(mutex_);
  counters_.peak_live_bytes = live_locked();
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
