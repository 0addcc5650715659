#include "base/check.h"
#include "base/process.h"
#include "host/pinned_pool.h"

namespace storm {

PinnedMemoryBuffer::PinnedMemoryBuffer(std::shared_ptr<PinnedMemoryPool> pool, Pieces pieces,
                                       size_t bytes, bool pinned)
    : pool_(std::move(pool)), pieces_(std::move(pieces)), bytes_(bytes), pinned_(pinned) {}

PinnedMemoryBuffer::PinnedMemoryBuffer(PinnedMemoryBuffer&& other) noexcept
    : pool_(std::move(other.pool_)),
      pieces_(std::move(other.pieces_)),
      bytes_(other.bytes_),
      pinned_(other.pinned_) {}

PinnedMemoryBuffer& PinnedMemoryBuffer::operator=(PinnedMemoryBuffer&& other) noexcept {
  if (this != &other) {
    if (pool_ && !process_exiting()) pool_->release(pieces_, pinned_);
    pool_ = std::move(other.pool_);
    pieces_ = std::move(other.pieces_);
    bytes_ = other.bytes_;
    pinned_ = other.pinned_;
  }
  return *this;
}

PinnedMemoryBuffer::~PinnedMemoryBuffer() {
  if (pool_ && !process_exiting()) pool_->release(pieces_, pinned_);
}

std::byte* PinnedMemoryBuffer::data() const {
  STORM_INVARIANT(pieces_.size() == 1, "a buffer in ", pieces_.size(),
                  " pieces has no one address.");
  return pieces_.front().data;
}

}  // namespace storm
