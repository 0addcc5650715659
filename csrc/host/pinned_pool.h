#pragma once
#include <c10/core/Allocator.h>
#include <c10/util/ArrayRef.h>
#include <c10/util/SmallVector.h>

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

struct HostPiece {
  std::byte* data;
  size_t bytes;
};

// How a buffer may lie: all in one range, or in as few as are free. See README.md, "Pieces".
enum class Layout { one_piece, pieces };

// Host memory, owned. Destroying it gives its ranges back at once: only right when no copy can
// still touch them. While one may, hand the buffer to `PinnedMemoryPool::recycle_after` instead.
class PinnedMemoryBuffer {
 public:
  PinnedMemoryBuffer(PinnedMemoryBuffer&& other) noexcept;
  PinnedMemoryBuffer& operator=(PinnedMemoryBuffer&& other) noexcept;
  ~PinnedMemoryBuffer();

  // In order; together `bytes()`.
  c10::ArrayRef<HostPiece> pieces() const { return pieces_; }
  std::byte* data() const;  // of a buffer in one piece
  size_t bytes() const { return bytes_; }
  bool pinned() const { return pinned_; }  // false: pageable, copies block the host

 private:
  friend class PinnedMemoryPool;
  using Pieces = c10::SmallVector<HostPiece, 1>;
  PinnedMemoryBuffer(std::shared_ptr<PinnedMemoryPool> pool, Pieces pieces, size_t bytes,
                     bool pinned);

  std::shared_ptr<PinnedMemoryPool> pool_;  // null: moved from
  Pieces pieces_;
  size_t bytes_;
  bool pinned_;
};

struct PoolConfig {
  // The largest slab, save for a buffer that must lie in one piece. A power of two, as every slab:
  // torch's pinned allocator rounds up to one.
  size_t slab_bytes = size_t{64} << 20;
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
  uint64_t slabs = 0;         // ever taken from the source
};

// Host memory for offloaded bytes: slabs from a HostMemorySource, sub-allocated best fit.
// Thread-safe.
class PinnedMemoryPool : public std::enable_shared_from_this<PinnedMemoryPool> {
 public:
  static std::shared_ptr<PinnedMemoryPool> create(std::shared_ptr<HostMemorySource> source,
                                                  PoolConfig config);
  ~PinnedMemoryPool();

  // Nothing when the cap does not allow it. Prefers pinned slabs. Never waits for an event.
  std::optional<PinnedMemoryBuffer> try_acquire(size_t bytes, Layout layout = Layout::one_piece);
  // Takes the buffer; its range is free once every event is done. Does not synchronise.
  void recycle_after(PinnedMemoryBuffer&& buffer, std::vector<EventRef> events);
  // Blocks the host until the longest-deferred range is free; false when none is deferred.
  bool wait_for_oldest();
  // Gives wholly free slabs back to their source, which may wait for the device to unpin them.
  void trim();

  PoolStats stats();
  void reset_peaks();
  void check_invariants();

 private:
  friend class PinnedMemoryBuffer;
  using Pieces = PinnedMemoryBuffer::Pieces;
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
    uint64_t ticket;  // its name: others may leave the list meanwhile
    Pieces pieces;
    bool pinned;
    std::vector<EventRef> events;
  };

  PinnedMemoryPool(std::shared_ptr<HostMemorySource> source, PoolConfig config);
  Shelf& shelf(bool pinned) { return pinned ? pinned_ : pageable_; }
  size_t live_locked() const;
  size_t least_piece(size_t bytes) const;
  size_t next_slab_locked(size_t bytes, Layout layout, bool pinned);
  std::optional<PinnedMemoryBuffer> take_locked(size_t bytes, Layout layout);
  std::optional<bool> add_slab(size_t bytes);
  void release_locked(const Pieces& pieces, bool pinned);
  void release(const Pieces& pieces, bool pinned) noexcept;
  void reclaim_locked(size_t patience = SIZE_MAX);

  const std::shared_ptr<HostMemorySource> source_;
  const PoolConfig config_;

  std::mutex mutex_;  // guards everything below; not held while a slab is allocated or freed
  Shelf pinned_, pageable_;
  std::deque<Deferred> deferred_;  // in order of arrival
  uint64_t next_ticket_ = 0;
  size_t reserved_bytes_ = 0;  // slabs, with those being allocated: never above config_.cap_bytes
  PoolStats counters_;         // only its peaks and counts; the gauges are derived
};

}  // namespace storm
