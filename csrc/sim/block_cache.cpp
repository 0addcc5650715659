#include "sim/block_cache.h"

#include <iterator>

namespace storm::sim {

std::optional<Block> BlockCache::take(size_t bytes, c10::DeviceIndex device, c10::StreamId stream) {
  const auto found = blocks_.find(Key{bytes, device, stream});
  if (found == blocks_.end()) return std::nullopt;
  Block block{found->second, bytes, bytes, device, stream};
  blocks_.erase(found);
  bytes_ -= bytes;
  return block;
}

void BlockCache::give(const Block& block) {
  blocks_.emplace(Key{block.bytes, block.device, block.stream}, block.data);
  bytes_ += block.bytes;
}

std::vector<Block> BlockCache::shrink_to(size_t keep_bytes) {
  std::vector<Block> out;
  while (bytes_ > keep_bytes && !blocks_.empty()) {
    const auto largest = std::prev(blocks_.end());
    const auto& [bytes, device, stream] = largest->first;
    out.push_back({largest->second, bytes, bytes, device, stream});
    bytes_ -= bytes;
    blocks_.erase(largest);
  }
  return out;
}

}  // namespace storm::sim
