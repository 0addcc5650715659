#include "sim/block_pool.h"

#include <c10/util/Exception.h>

#include <iterator>
#include <utility>

namespace storm::sim {
namespace {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kGranule = 512;              // sizes and addresses are multiples of it
constexpr size_t kSmall = kMiB;               // up to here, the small pool serves
constexpr size_t kSmallSegment = 2 * kMiB;    // what the small pool takes from the system
constexpr size_t kLargeSegment = 20 * kMiB;   // what the large pool takes for moderate blocks
constexpr size_t kOwnSegment = 10 * kMiB;     // from here on, a block gets a segment of its own,
constexpr size_t kSegmentGranule = 2 * kMiB;  // rounded up to this

size_t round_up(size_t bytes, size_t granule) {
  return (bytes + granule - 1) / granule * granule;
}

// Large blocks keep a small rest: it would be of little use on its own.
bool worth_keeping(size_t rest, bool small) {
  return small ? rest >= kGranule : rest > kSmall;
}

}  // namespace

size_t Request::bytes() const noexcept {
  return round_up(asked, kGranule);
}

bool Request::small() const noexcept {
  return bytes() <= kSmall;
}

size_t Request::segment_bytes() const noexcept {
  if (small()) return kSmallSegment;
  return bytes() < kOwnSegment ? kLargeSegment : round_up(bytes(), kSegmentGranule);
}

BlockPool::FreeBlock BlockPool::key(const Blocks::value_type& entry) {
  const auto& [data, block] = entry;
  return {block.small, block.owner, block.bytes, data};
}

char* BlockPool::take(const Request& request) {
  const bool small = request.small();
  const auto fit = free_.lower_bound({small, request.owner, request.bytes(), nullptr});
  if (fit == free_.end() || fit->small != small || fit->owner != request.owner) return nullptr;
  const auto block = blocks_.find(fit->data);
  remove_free(block);
  return use(block, request);
}

char* BlockPool::take_from(char* segment, const Request& request) {
  const size_t bytes = request.segment_bytes();
  segments_.emplace(segment, Segment{segment, bytes, request.owner});
  stats(request.owner.device).segment_added(bytes, request.small());
  const auto block =
      blocks_
          .emplace(segment,
                   Block{bytes, 0, request.owner, request.small(), false, segment, bytes, {}})
          .first;
  return use(block, request);
}

char* BlockPool::use(Blocks::iterator place, const Request& request) {
  auto& [data, block] = *place;
  const size_t wanted = request.bytes();
  if (worth_keeping(block.bytes - wanted, block.small)) {
    Block rest = block;
    rest.bytes = block.bytes - wanted;
    block.bytes = wanted;
    add_free(blocks_.emplace_hint(std::next(place), data + wanted, std::move(rest)));
  }
  block.asked = request.asked;
  stats(block.owner.device).block_taken(block.bytes, block.asked, block.small);
  return data;
}

Block* BlockPool::find(const void* data) {
  const auto found = blocks_.find(static_cast<const char*>(data));
  return found == blocks_.end() || found->second.free ? nullptr : &found->second;
}

Block& BlockPool::drop(char* data) {
  Block* block = find(data);
  TORCH_INTERNAL_ASSERT(block != nullptr, "sim: freed a block that is not allocated");
  stats(block->owner.device).block_freed(block->bytes, block->asked, block->small);
  return *block;
}

void BlockPool::retire(char* data) {
  auto place = blocks_.find(data);
  auto& block = place->second;
  stats(block.owner.device).block_retired(block.bytes, block.small);
  block.users.clear();
  if (const auto next = std::next(place); continues(place, next) && next->second.free) {
    remove_free(next);
    join_next(place);
  }
  if (place != blocks_.begin()) {
    const auto previous = std::prev(place);
    if (continues(previous, place) && previous->second.free) {
      remove_free(previous);
      join_next(previous);
      place = previous;
    }
  }
  add_free(place);
}

bool BlockPool::continues(Blocks::iterator first, Blocks::iterator second) const {
  return second != blocks_.end() && first->second.segment == second->second.segment;
}

bool BlockPool::has_neighbour(const Block& block) {
  return block.bytes != block.segment_bytes;
}

void BlockPool::add_free(Blocks::iterator place) {
  auto& block = place->second;
  block.free = true;
  free_.insert(key(*place));
  if (has_neighbour(block)) stats(block.owner.device).rest_added(block.bytes, block.small);
}

void BlockPool::remove_free(Blocks::iterator place) {
  auto& block = place->second;
  block.free = false;
  free_.erase(key(*place));
  if (has_neighbour(block)) stats(block.owner.device).rest_removed(block.bytes, block.small);
}

void BlockPool::join_next(Blocks::iterator place) {
  const auto next = std::next(place);
  place->second.bytes += next->second.bytes;
  blocks_.erase(next);
}

std::vector<Segment> BlockPool::take_unused(c10::DeviceIndex device) {
  std::vector<Segment> unused;
  for (auto it = segments_.begin(); it != segments_.end();) {
    const auto& segment = it->second;
    const auto block = blocks_.find(segment.data);
    if (segment.owner.device != device || !block->second.free || has_neighbour(block->second)) {
      ++it;
      continue;
    }
    stats(device).segment_removed(segment.bytes, block->second.small);
    remove_free(block);
    unused.push_back(segment);
    blocks_.erase(block);
    it = segments_.erase(it);
  }
  return unused;
}

std::optional<c10::DeviceIndex> BlockPool::device_of(const void* address) const {
  const auto* byte = static_cast<const char*>(address);
  const auto after = segments_.upper_bound(byte);
  if (after == segments_.begin()) return std::nullopt;
  const auto& segment = std::prev(after)->second;
  if (byte >= segment.data + segment.bytes) return std::nullopt;
  return segment.owner.device;
}

}  // namespace storm::sim
