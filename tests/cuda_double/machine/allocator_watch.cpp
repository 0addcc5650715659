#include "allocator_watch.h"

#include <c10/cuda/CUDACachingAllocator.h>

#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "arena.h"
#include "sim/lifecycle.h"
#include "sim/races/detector.h"
#include "sim/settings.h"
#include "streams.h"

namespace cuda_double {
namespace {

using c10::CachingDeviceAllocator::TraceEntry;
using storm::sim::detector;
using storm::sim::Moment;
using storm::sim::StreamName;

// Blocks that foreign streams use, from the request to free them until they are free.
struct Waiting {
  std::mutex mutex;                               // guards moments
  std::map<size_t, std::vector<Moment>> moments;  // by address
};

Waiting& waiting() {
  static auto* instance = new Waiting;
  return *instance;
}

struct Freeing {
  size_t address = 0;  // 0: none
  StreamName owner;
};
thread_local Freeing t_freeing;

std::vector<Moment> take_moments(size_t address) {
  std::lock_guard lock(waiting().mutex);
  const auto found = waiting().moments.find(address);
  if (found == waiting().moments.end()) return {};
  auto moments = std::move(found->second);
  waiting().moments.erase(found);
  return moments;
}

void poison(storm::sim::Stream& owner, size_t address, size_t bytes) {
  if (!storm::sim::settings().poison) return;
  void* begin = Arena::bytes_behind(reinterpret_cast<void*>(address));
  owner.push(storm::sim::Task(storm::sim::TaskKind::housekeeping, "poison", [begin, bytes] {
    std::memset(begin, 0xFF, bytes);  // NaN, -1
  }));
}

// Under the lock of torch's allocator.
void see(const TraceEntry& entry) {
  no_block_is_being_freed();
  if (!storm::sim::running()) return;
  const auto stream = static_cast<cudaStream_t>(entry.stream_);
  const auto* begin = reinterpret_cast<const void*>(entry.addr_);
  switch (entry.action_) {
    case TraceEntry::ALLOC:
      if (detector().on()) {
        detector().device_block_taken(name_of(entry.device_, stream), begin, entry.size_);
      }
      break;
    case TraceEntry::FREE_REQUESTED:
      t_freeing = {entry.addr_, name_of(entry.device_, stream)};
      break;
    case TraceEntry::FREE_COMPLETED: {
      const auto moments = take_moments(entry.addr_);
      detector().block_over(begin, entry.size_, moments);
      detector().device_block_freed(name_of(entry.device_, stream), begin, entry.size_);
      poison(stream_of(entry.device_, stream), entry.addr_, entry.size_);
      break;
    }
    default:
      break;
  }
}

}  // namespace

void watch_allocator() {
  static std::once_flag once;
  std::call_once(once, [] { c10::cuda::CUDACachingAllocator::attachAllocatorTraceTracker(&see); });
}

bool is_recorded_by_allocator(StreamName stream, const Moment& known) {
  if (t_freeing.address == 0 || t_freeing.owner == stream) return false;
  std::lock_guard lock(waiting().mutex);
  waiting().moments[t_freeing.address].push_back(known);
  return true;
}

void no_block_is_being_freed() noexcept {
  t_freeing.address = 0;
}

}  // namespace cuda_double
