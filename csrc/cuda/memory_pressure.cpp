#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include "engine/memory_pressure.h"

namespace storm::cuda {
namespace {

// torch's allocator asks whenever its cache has no block that fits, which is mostly because it is
// about to grow. Only when the device cannot give much more is it time to give things up.
constexpr size_t kPlenty = 16;  // a sixteenth of the device's memory

// Called under the allocator's lock, which its own thread may take again: what is freed here comes
// back at once.
class GiveUp final : public c10::FreeMemoryCallback {
 public:
  bool Execute() override {
    size_t free = 0, total = 0;
    if (cudaMemGetInfo(&free, &total) != cudaSuccess || free > total / kPlenty) return false;
    return release_held({c10::DeviceType::CUDA, c10::cuda::current_device()});
  }
};

}  // namespace
}  // namespace storm::cuda

namespace c10 {
REGISTER_FREE_MEMORY_CALLBACK("pamiq_storm", storm::cuda::GiveUp)
}  // namespace c10
