#pragma once
#include <c10/core/Allocator.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/event.h"
#include "host/best_fit.h"
#include "host/memory_source.h"

namespace storm {

class PinnedMemoryPool;

// A range of host memory, owned. Destroying it gives the range back at once: only right when no
// copy can still touch it. While one may, hand the buffer to `PinnedMemoryPool::recycle_after`
// instead.
class PinnedMemoryBuffer {
 public:
  PinnedMemoryBuffer(PinnedMemoryBuffer&& other) noexcept;
  PinnedMemoryBuffer& operator=(PinnedMemoryBuffer&& other) noexcept;
  ~PinnedMemoryBuffer();

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  bool pinned() const { return pinned_; }  // false: pageable, copies block the host

 private:
  friend class PinnedMemoryPool;
  PinnedMemoryBuffer(std::shared_ptr<PinnedMemoryPool> pool, std::byte* data, size_t bytes,
                     bool pinned);
  std::byte* disown() noexcept;

  std::shared_ptr<PinnedMemoryPool> pool_;
  std::byte* data_;
  size_t bytes_;
  bool pinned_;
};

struct PoolConfig {
  size_t slab_bytes =
      size_t{64} << 20;         // a power of two: torch's pinned allocator rounds up to one
  size_t cap_bytes = SIZE_MAX;  // hard bound on the slabs' bytes, pinned and pageable together
};

struct PoolStats {
  size_t pinned_bytes = 0;    // in slabs
  size_t pageable_bytes = 0;  // in slabs
  size_t live_bytes = 0;      // in buffers, those still behind an event included
  size_t peak_live_bytes = 0;
  size_t peak_slab_bytes = 0;
  uint64_t hits = 0;          // buffers served from existing slabs
  uint64_t misses = 0;        // buffers that needed a new slab
  uint64_t pin_failures = 0;  // slabs that had to be pageable
  uint64_t refusals = 0;      // buffers the cap did not allow
};

// Host memory for offloaded bytes: slabs from a HostMemorySource, sub-allocated best fit.
// Thread-safe.
class PinnedMemoryPool : public std::enable_shared_from_this<PinnedMemoryPool> {
 public:
  static std::shared_ptr<PinnedMemoryPool> create(std::shared_ptr<HostMemorySource> source,
                                                  PoolConfig config);
  ~PinnedMemoryPool();

  // Nothing when the cap does not allow it. Prefers pinned slabs. Never waits for an event.
  std::optional<PinnedMemoryBuffer> try_acquire(size_t bytes);
  // Takes the buffer; its range is free once every event is done. Does not synchronise.
  void recycle_after(PinnedMemoryBuffer&& buffer, std::vector<EventRef> events);
  // Blocks the host until the longest-deferred range is free; false when none is deferred.
  bool wait_for_oldest();
  // Gives wholly free slabs back to their source.
  void trim();

  PoolStats stats();
  void reset_peaks();
  void check_invariants();

 private:
  friend class PinnedMemoryBuffer;
  struct Slab {
    at::DataPtr data;
    size_t bytes;
  };
  struct Shelf {  // one kind of memory
    BestFit ranges;
    std::vector<Slab> slabs;
    size_t slab_bytes = 0;
  };
  struct Deferred {
    std::byte* data;
    bool pinned;
    std::vector<EventRef> events;
  };

  PinnedMemoryPool(std::shared_ptr<HostMemorySource> source, PoolConfig config);
  Shelf& shelf(bool pinned) { return pinned ? pinned_ : pageable_; }
  size_t next_slab_bytes(size_t bytes) const;
  std::optional<PinnedMemoryBuffer> take_locked(size_t bytes);
  std::optional<PinnedMemoryBuffer> grow(size_t bytes, size_t slab_bytes);
  void release(std::byte* data, bool pinned) noexcept;
  void reclaim_locked();

  const std::shared_ptr<HostMemorySource> source_;
  const PoolConfig config_;

  std::mutex mutex_;  // guards everything below; not held while a slab is allocated or freed
  Shelf pinned_, pageable_;
  std::deque<Deferred> deferred_;  // in order of arrival
  size_t reserved_bytes_ = 0;  // slabs, with those being allocated: never above config_.cap_bytes
  PoolStats counters_;         // only its peaks and counts; the gauges are derived
};

}  // namespace storm
