// The allocation policy of device memory: segments taken from the system, cut into blocks. As
// torch's allocator for CUDA does it, so that a model fits here if it fits there.
#pragma once

#include <c10/core/Stream.h>

#include <array>
#include <compare>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "sim/memory_stats.h"
#include "sim/sim.h"

namespace storm::sim {

// Whose memory it is: blocks never change streams, since only their own stream's order makes it
// safe to use them again at once.
struct Owner {
  c10::DeviceIndex device = 0;
  c10::StreamId stream = 0;
  auto operator<=>(const Owner&) const = default;
};

struct Request {
  Owner owner;
  size_t asked;  // bytes

  size_t bytes() const noexcept;          // rounded up
  bool small() const noexcept;            // which of the two pools serves it
  size_t segment_bytes() const noexcept;  // of the segment that is taken if no block fits
};

struct Segment {
  char* data = nullptr;
  size_t bytes = 0;
  Owner owner;
};

struct Block {
  size_t bytes = 0;
  size_t asked = 0;
  Owner owner;
  bool small = false;
  bool free = false;
  const char* segment = nullptr;  // where its segment begins
  size_t segment_bytes = 0;
  std::vector<c10::StreamId> users;  // foreign streams named by recordStream
};

// Not thread-safe: the allocator's lock covers it.
class BlockPool {
 public:
  // The smallest free block that fits, cut to size if what remains is worth keeping.
  char* take(const Request& request);

  // Makes a new segment known, which serves `request` at once.
  char* take_from(char* segment, const Request& request);

  // The user has let go; the block stays active until retire().
  Block& drop(char* data);

  // Nobody uses the block any more: it joins its free neighbours.
  void retire(char* data);

  // The live block that begins at `data`, or none.
  Block* find(const void* data);

  // Takes out the device's segments that no block is in use of; the caller releases them.
  std::vector<Segment> take_unused(c10::DeviceIndex device);

  std::optional<c10::DeviceIndex> device_of(const void* address) const;
  MemoryStats& stats(c10::DeviceIndex device) { return stats_[static_cast<size_t>(device)]; }

 private:
  using Blocks = std::map<char*, Block, std::less<>>;  // all of them, in the order of addresses
  struct FreeBlock {
    bool small;
    Owner owner;
    size_t bytes;
    char* data;
    auto operator<=>(const FreeBlock&) const = default;
  };

  static FreeBlock key(const Blocks::value_type& entry);
  char* use(Blocks::iterator block, const Request& request);
  static bool has_neighbour(const Block& block);
  bool continues(Blocks::iterator first, Blocks::iterator second) const;  // both in one segment
  void add_free(Blocks::iterator block);
  void remove_free(Blocks::iterator block);
  void join_next(Blocks::iterator block);

  Blocks blocks_;
  std::set<FreeBlock> free_;
  std::map<const char*, Segment> segments_;
  std::array<MemoryStats, kMaxDevices> stats_;
};

}  // namespace storm::sim
