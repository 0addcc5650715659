#include "pinned.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Winterference-size"
#include <ATen/core/CachingHostAllocator.h>
#pragma GCC diagnostic pop

#include <c10/cuda/CUDAException.h>

#include <utility>

#include "sim/device.h"
#include "sim/injection.h"
#include "sim/races/detector.h"

namespace cuda_double {
namespace {

using storm::sim::detector;

thread_local bool t_inside = false;

class Inside {
 public:
  Inside() : before_(std::exchange(t_inside, true)) {}
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  ~Inside() { t_inside = before_; }

 private:
  const bool before_;
};

class Watched final : public at::HostAllocator {
 public:
  explicit Watched(at::HostAllocator& torch) : torch_(torch) {}

  at::DataPtr allocate(size_t bytes) override {
    const Inside inside;
    // As if cudaHostAlloc had failed. A request that torch's cache can serve does not get that far.
    if (storm::sim::injected(&storm::sim::Faults::pinned))
      C10_CUDA_CHECK(cudaErrorMemoryAllocation);
    auto block = torch_.allocate(bytes);
    if (detector().on()) detector().pinned_block_taken(block.get(), bytes);
    return block;
  }
  bool record_event(void* data, void* context, c10::Stream stream) override {
    return torch_.record_event(data, context, stream);
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    torch_.copy_data(to, from, bytes);
  }
  void empty_cache() override {
    const Inside inside;
    torch_.empty_cache();
  }
  at::HostStats get_stats() override { return torch_.get_stats(); }
  void reset_accumulated_stats() override { torch_.reset_accumulated_stats(); }
  void reset_peak_stats() override { torch_.reset_peak_stats(); }
  void begin_allocate_to_pool(c10::MempoolId_t pool,
                              std::function<bool(c10::Stream)> filter) override {
    torch_.begin_allocate_to_pool(pool, std::move(filter));
  }
  void end_allocate_to_pool(c10::MempoolId_t pool) override { torch_.end_allocate_to_pool(pool); }
  void release_pool(c10::MempoolId_t pool) override { torch_.release_pool(pool); }

 private:
  at::HostAllocator& torch_;
};

}  // namespace

void watch_pinned_allocator() {
  static auto* watched = new Watched(*at::getHostAllocator(at::kCUDA));
  at::setHostAllocator(at::kCUDA, watched, /*priority=*/1);
}

bool inside_pinned_allocator() noexcept {
  return t_inside;
}

}  // namespace cuda_double
