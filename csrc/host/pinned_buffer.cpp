#include "host/pinned_pool.h"

namespace storm {

PinnedMemoryBuffer::PinnedMemoryBuffer(std::shared_ptr<PinnedMemoryPool> pool, std::byte* data,
                                       size_t bytes, bool pinned)
    : pool_(std::move(pool)), data_(data), bytes_(bytes), pinned_(pinned) {}

PinnedMemoryBuffer::PinnedMemoryBuffer(PinnedMemoryBuffer&& other) noexcept
    : pool_(std::move(other.pool_)),
      data_(other.data_),
      bytes_(other.bytes_),
      pinned_(other.pinned_) {}

PinnedMemoryBuffer& PinnedMemoryBuffer::operator=(PinnedMemoryBuffer&& other) noexcept {
  if (this != &other) {
    if (pool_) pool_->release(data_, pinned_);
    pool_ = std::move(other.pool_);
    data_ = other.data_;
    bytes_ = other.bytes_;
    pinned_ = other.pinned_;
  }
  return *this;
}

PinnedMemoryBuffer::~PinnedMemoryBuffer() {
  if (pool_) pool_->release(data_, pinned_);
}

std::byte* PinnedMemoryBuffer::disown() noexcept {
  pool_.reset();
  return data_;
}

}  // namespace storm
