// The runtime's calls (../runtime/machine.h) on the simulator's streams, link and memory.
#include "runtime/machine.h"

#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <cstring>
#include <map>

#include "allocator_watch.h"
#include "arena.h"
#include "backend.h"
#include "capture.h"
#include "copy.h"
#include "pinned.h"
#include "sim/device.h"
#include "sim/injection.h"
#include "sim/lifecycle.h"
#include "sim/pinned_ranges.h"
#include "sim/schedule.h"
#include "sim/settings.h"
#include "streams.h"

namespace cuda_double {
namespace {

using storm::sim::detector;
using storm::sim::device;
using storm::sim::DeviceIndex;
using storm::sim::Effects;
using storm::sim::MarkerRef;
using storm::sim::Task;
using storm::sim::TaskKind;

struct Recorded final : Machine::Moment {
  Recorded(MarkerRef marker, int device, bool allocators)
      : marker(std::move(marker)), device(device), allocators(allocators) {}

  const MarkerRef marker;
  const int device;
  const bool allocators;  // torch's caching allocator asks for it, which tells nobody else anything
};

const Recorded& inside(const Machine::MomentRef& moment) {
  return static_cast<const Recorded&>(*moment);
}

bool is_lost(int index) {
  try {
    device(static_cast<DeviceIndex>(index)).check_alive();
    return false;
  } catch (const c10::Error&) {
    return true;
  }
}

// The simulator's errors as the runtime's.
template <class Body>
auto guarded(int index, Body body) {
  try {
    return body();
  } catch (const c10::OutOfMemoryError& error) {
    throw Failure{cudaErrorMemoryAllocation, error.what_without_backtrace()};
  } catch (const c10::Error& error) {
    throw Failure{is_lost(index) ? cudaErrorDevicesUnavailable : cudaErrorLaunchFailure,
                  error.what_without_backtrace()};
  }
}

class SimulatedMachine final : public Machine {
 public:
  int devices() override { return storm::sim::device_count(); }
  size_t memory_limit() override {
    const auto limit = static_cast<size_t>(storm::sim::settings().memory_bytes);
    return limit == 0 ? Arena::kPerDevice : limit;
  }
  size_t memory_used(int index) override { return Arena::instance().used(index); }
  bool in_use(int index) override {
    return memory_used(index) > 0 || streams_of(index).all().size() > 1;
  }

  void* allocate(int index, size_t bytes) override;
  void free(void* begin) override;
  void* allocate_pinned(size_t bytes) override;
  void free_pinned(void* begin) override;
  void pin(void* begin, size_t bytes) override;
  void unpin(void* begin) override;
  Memory what_is(const void* address) override;

  cudaStream_t new_stream(int index, int priority) override {
    return streams_of(index).add(priority);
  }
  int priority_of(cudaStream_t stream) override { return cuda_double::priority_of(stream); }
  bool captured(int index, cudaStream_t stream) override { return is_captured(index, stream); }
  bool idle(int index, cudaStream_t stream) override;
  void synchronize(int index, cudaStream_t stream) override;
  void synchronize(int index) override {
    no_block_is_being_freed();
    guarded(index, [&] { device(static_cast<DeviceIndex>(index)).synchronize(); });
  }

  MomentRef record(int index, cudaStream_t stream) override;
  void wait(int index, cudaStream_t stream, const MomentRef& moment) override;
  bool reached(const MomentRef& moment) override;
  void synchronize(const MomentRef& moment) override;
  double milliseconds_between(const MomentRef& begin, const MomentRef& end) override {
    return 1e3 * storm::sim::seconds(inside(end).marker->time() - inside(begin).marker->time());
  }

  void copy(void* to, const void* from, size_t bytes, int index, cudaStream_t stream) override {
    no_block_is_being_freed();
    guarded(index, [&] { copy_bytes(to, from, bytes, stream_of(index, stream)); });
  }
  void fill(void* begin, int value, size_t bytes, int index, cudaStream_t stream) override;
  void call(std::function<void()> function, int index, cudaStream_t stream) override;

 private:
  // What CUDA makes the host wait for, but promises to nobody.
  static void wait_for_everything();

  std::mutex mutex_;               // guards owned_
  std::map<void*, size_t> owned_;  // pinned memory of our own, not of cudaHostRegister
};

void* SimulatedMachine::allocate(int index, size_t bytes) {
  watch_allocator();
  return guarded(index, [&]() -> void* {
    device(static_cast<DeviceIndex>(index)).check_alive();
    void* begin = nullptr;
    if (memory_used(index) + bytes <= memory_limit()) begin = Arena::instance().take(index, bytes);
    if (begin == nullptr) throw Failure{cudaErrorMemoryAllocation, "out of memory"};
    if (storm::sim::settings().poison) std::memset(Arena::bytes_behind(begin), 0xFF, bytes);
    return begin;
  });
}

void SimulatedMachine::free(void* begin) {
  wait_for_everything();
  const size_t bytes = Arena::instance().give_back(begin);
  if (bytes == 0) throw Failure{cudaErrorInvalidValue, "cudaFree of what cudaMalloc did not give"};
  detector().forget(begin, bytes);
}

void* SimulatedMachine::allocate_pinned(size_t bytes) {
  void* begin = mmap(nullptr, std::max<size_t>(bytes, 1), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (begin == MAP_FAILED) throw Failure{cudaErrorMemoryAllocation, "no host memory"};
  storm::sim::pinned_ranges().add(begin, bytes);
  storm::sim::counters().pinned_requests += 1;
  std::lock_guard lock(mutex_);
  owned_.emplace(begin, bytes);
  return begin;
}

void SimulatedMachine::free_pinned(void* begin) {
  size_t bytes = 0;
  {
    std::lock_guard lock(mutex_);
    const auto found = owned_.find(begin);
    if (found == owned_.end()) {
      throw Failure{cudaErrorInvalidValue, "cudaFreeHost of what cudaHostAlloc did not give"};
    }
    bytes = found->second;
    owned_.erase(found);
  }
  wait_for_everything();
  storm::sim::pinned_ranges().remove(begin);
  detector().forget(begin, bytes);
  munmap(begin, std::max<size_t>(bytes, 1));
}

void SimulatedMachine::pin(void* begin, size_t bytes) {
  if (storm::sim::pinned_ranges().contains(begin)) {
    throw Failure{cudaErrorHostMemoryAlreadyRegistered, "this memory is pinned already"};
  }
  storm::sim::pinned_ranges().add(begin, bytes);
  storm::sim::counters().pinned_requests += 1;
}

void SimulatedMachine::unpin(void* begin) {
  if (!storm::sim::pinned_ranges().contains(begin)) {
    throw Failure{cudaErrorHostMemoryNotRegistered, "this memory is not pinned"};
  }
  wait_for_everything();
  storm::sim::pinned_ranges().remove(begin);
}

Memory SimulatedMachine::what_is(const void* address) {
  const int index = Arena::device_of(address);
  if (index >= 0) return {MemoryKind::device, index};
  const bool pinned = storm::sim::pinned_ranges().contains(address);
  return {pinned ? MemoryKind::pinned : MemoryKind::pageable, -1};
}

bool SimulatedMachine::idle(int index, cudaStream_t stream) {
  no_block_is_being_freed();
  const int owner = name_of(index, stream).device;
  return guarded(owner, [&] {
    device(static_cast<DeviceIndex>(owner)).check_alive();
    return stream_of(index, stream).idle();
  });
}

void SimulatedMachine::synchronize(int index, cudaStream_t stream) {
  no_block_is_being_freed();
  const int owner = name_of(index, stream).device;
  guarded(owner, [&] {
    auto& dev = device(static_cast<DeviceIndex>(owner));
    dev.check_alive();
    storm::sim::counters().synchronisations += 1;
    stream_of(index, stream).drain();
    dev.raise_fault();
  });
}

Machine::MomentRef SimulatedMachine::record(int index, cudaStream_t stream) {
  const int owner = name_of(index, stream).device;
  return guarded(owner, [&]() -> MomentRef {
    auto& queue = stream_of(index, stream);
    device(static_cast<DeviceIndex>(owner)).check_alive();
    auto marker = queue.record();
    const bool allocators = is_recorded_by_allocator(name_of(index, stream), marker->known());
    return std::make_shared<Recorded>(std::move(marker), owner, allocators);
  });
}

void SimulatedMachine::wait(int index, cudaStream_t stream, const MomentRef& moment) {
  no_block_is_being_freed();
  const int owner = name_of(index, stream).device;
  guarded(owner, [&] {
    device(static_cast<DeviceIndex>(owner)).check_alive();
    stream_of(index, stream).wait_for(inside(moment).marker);
  });
}

bool SimulatedMachine::reached(const MomentRef& moment) {
  no_block_is_being_freed();
  if (!storm::sim::running()) return true;
  const Recorded& recorded = inside(moment);
  return guarded(recorded.device, [&] {
    device(static_cast<DeviceIndex>(recorded.device)).check_alive();
    if (!storm::sim::schedule().reveals(*recorded.marker)) return false;
    if (recorded.allocators) return true;
    if (inside_pinned_allocator()) {
      detector().allocator_learns(recorded.marker->known());
    } else {
      detector().host_learns(recorded.marker->known());
    }
    return true;
  });
}

void SimulatedMachine::synchronize(const MomentRef& moment) {
  no_block_is_being_freed();
  if (!storm::sim::running()) return;
  const auto& recorded = inside(moment);
  guarded(recorded.device, [&] {
    auto& dev = device(static_cast<DeviceIndex>(recorded.device));
    dev.check_alive();
    storm::sim::counters().synchronisations += 1;
    recorded.marker->wait();
    if (!recorded.allocators) detector().host_learns(recorded.marker->known());
    storm::sim::schedule().learn(recorded.marker->time());
    dev.raise_fault();
  });
}

void SimulatedMachine::fill(void* begin, int value, size_t bytes, int index, cudaStream_t stream) {
  no_block_is_being_freed();
  guarded(index, [&] {
    stream_of(index, stream)
        .push(Task(TaskKind::kernel, "memset",
                   [at = Arena::bytes_behind(begin), value, bytes] {
                     std::memset(at, value, bytes);
                   }),
              Effects().writes(begin, bytes), {});
  });
}

void SimulatedMachine::call(std::function<void()> function, int index, cudaStream_t stream) {
  no_block_is_being_freed();
  guarded(index, [&] {
    stream_of(index, stream)
        .push(Task(TaskKind::housekeeping, "host function", std::move(function)));
  });
}

void SimulatedMachine::wait_for_everything() {
  if (!storm::sim::running()) return;
  no_block_is_being_freed();
  for (DeviceIndex i = 0; i < storm::sim::device_count(); ++i) {
    for (auto* stream : streams_of(i).all()) stream->drain_implicitly();
  }
}

}  // namespace

Machine& simulated_machine() {
  static auto* instance = new SimulatedMachine;
  return *instance;
}

}  // namespace cuda_double
