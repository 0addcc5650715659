#include "demand.h"

#include <c10/core/CachingDeviceAllocator.h>

#include "sim/injection.h"

namespace cuda_double {
namespace {

using c10::CachingDeviceAllocator::DeviceStats;

// torch's allocator, for those who take it from c10. torch's own tensors do not come this way.
class Failing final : public c10::DeviceAllocator {
 public:
  explicit Failing(c10::DeviceAllocator& torch) : torch_(torch) {}

  c10::DataPtr allocate(size_t bytes) override {
    fail_on_demand();
    return torch_.allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return torch_.raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    torch_.copy_data(to, from, bytes);
  }
  bool initialized() override { return torch_.initialized(); }
  void emptyCache(c10::MempoolId_t pool) override { torch_.emptyCache(pool); }
  void recordStream(const c10::DataPtr& data, c10::Stream stream) override {
    torch_.recordStream(data, stream);
  }
  DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    return torch_.getDeviceStats(device);
  }
  void resetAccumulatedStats(c10::DeviceIndex device) override {
    torch_.resetAccumulatedStats(device);
  }
  void resetPeakStats(c10::DeviceIndex device) override { torch_.resetPeakStats(device); }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override {
    return torch_.getMemoryInfo(device);
  }

 private:
  c10::DeviceAllocator& torch_;
};

}  // namespace

void fail_on_demand() {
  TORCH_CHECK_WITH(OutOfMemoryError, !storm::sim::injected(&storm::sim::Faults::allocation),
                   "CUDA out of memory; injected by pamiq_storm.sim.inject");
}

void fail_allocations_on_demand() {
  static auto* failing = new Failing(*c10::getDeviceAllocator(c10::kCUDA));
  c10::SetAllocator(c10::kCUDA, failing, /*priority=*/1);
}

}  // namespace cuda_double
