// Freed device blocks waiting for their next use. The allocation policy of the simulated device.
#pragma once

#include <c10/core/Stream.h>

#include <cstddef>
#include <map>
#include <optional>
#include <tuple>
#include <vector>

namespace storm::sim {

// A block of host memory that stands for device memory, tied to the stream it was allocated on.
struct Block {
  void* data = nullptr;
  size_t bytes = 0;      // rounded up
  size_t requested = 0;  // as asked for
  c10::DeviceIndex device = 0;
  c10::StreamId stream = 0;
};

// A freed block is reused only by its own stream, whose order makes that safe at once, and only at
// its exact size. Not thread-safe: the allocator's lock covers it.
class BlockCache {
 public:
  std::optional<Block> take(size_t bytes, c10::DeviceIndex device, c10::StreamId stream);
  void give(const Block& block);

  // Takes out the largest blocks until at most `keep_bytes` remain; the caller releases them.
  std::vector<Block> shrink_to(size_t keep_bytes);
  size_t bytes() const noexcept { return bytes_; }

 private:
  using Key = std::tuple<size_t, c10::DeviceIndex, c10::StreamId>;

  std::multimap<Key, void*> blocks_;
  size_t bytes_ = 0;  // the sum of the keys' sizes
};

}  // namespace storm::sim
