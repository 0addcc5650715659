#include "sim/host_allocator.h"

#include <sys/mman.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winterference-size"
#include <ATen/core/CachingHostAllocator.h>
#pragma GCC diagnostic pop

#include "sim/counters.h"
#include "sim/device.h"
#include "sim/injection.h"
#include "sim/lifecycle.h"
#include "sim/pinned_ranges.h"
#include "sim/races/detector.h"
#include "sim/settings.h"
#include "sim/timing/virtual_time.h"

namespace storm::sim {
namespace {

void refuse_beyond_limit(size_t bytes) {
  if (!clock_is_virtual()) return;
  const auto limit = static_cast<int64_t>(virtual_time().profile().host_memory_bytes);
  const int64_t pinned = counters().pinned_bytes;
  TORCH_CHECK_WITH(OutOfMemoryError, limit == 0 || pinned + static_cast<int64_t>(bytes) <= limit,
                   "sim: cannot pin ", bytes, " bytes of host memory: ", pinned, " of the ", limit,
                   " bytes that the profile has are pinned");
}

struct PinnedMemory final : at::CachingHostAllocatorImpl<c10::Stream, MarkerRef> {
 private:
  void allocate_host_memory(size_t bytes, void** out) override {
    check_usable();
    refuse_beyond_limit(bytes);
    // Populated at once, as pinning does, unless it is to have no contents.
    const int kind = settings().ghost ? MAP_NORESERVE : MAP_POPULATE;
    void* data =
        mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | kind, -1, 0);
    TORCH_CHECK_WITH(OutOfMemoryError, data != MAP_FAILED, "sim: cannot pin ", bytes,
                     " bytes of host memory");
    pinned_ranges().add(data, bytes);
    counters().pinned_requests += 1;
    virtual_time().charge_pinning(bytes);
    *out = data;
  }

  void free_block(at::HostBlock<c10::Stream>* block) override {
    pinned_ranges().remove(block->ptr_);
    if (detector().on()) detector().forget(block->ptr_, block->size_);
    virtual_time().charge_unpinning();
    munmap(block->ptr_, block->size_);
  }

  void record_stream(std::optional<std::vector<MarkerRef>>& events, c10::Stream stream) override {
    events->push_back(stream_of(stream).record());
  }

  // Tells the allocator about its blocks; the host learns nothing from it.
  bool query_event(MarkerRef& event) override {
    if (!event->reached()) return false;
    if (detector().on()) detector().allocator_learns(event->known());
    return true;
  }
  c10::Stream get_current_stream() const override { return current_stream(); }
  bool stream_is_capturing(c10::Stream) const override { return false; }
};

void free_pinned(void* block) noexcept;

struct Allocator final : at::CachingHostAllocatorInterface<PinnedMemory, free_pinned> {
  at::DataPtr allocate(size_t bytes) override {
    device(current_device()).check_alive();
    TORCH_CHECK_WITH(OutOfMemoryError, !injected(&Faults::pinned), "sim: cannot pin ", bytes,
                     " bytes of host memory; injected by pamiq_storm.sim.inject");
    auto memory = CachingHostAllocatorInterface::allocate(bytes);
    if (detector().on()) detector().pinned_block_taken(memory.get(), bytes);
    return memory;
  }
};

Allocator& allocator() {
  static auto* instance = new Allocator;  // leaked: copies may be in flight at exit
  return *instance;
}

void free_pinned(void* block) noexcept {
  if (block == nullptr || !running()) return;  // at exit the system takes everything back
  try {
    allocator().free(block);
  } catch (const std::exception& error) {
    TORCH_WARN("sim: pinned memory was not released: ", error.what());
  }
}

const at::HostAllocatorRegistry<kDeviceType> g_registration(&allocator());

}  // namespace

c10::Allocator& pinned_allocator() {
  return allocator();
}

void record_pinned_use(const void* data, void* context, const c10::Stream& stream) {
  allocator().record_event(const_cast<void*>(data), context, stream);
}

}  // namespace storm::sim
