#include <memory>
#include <optional>

#include "cuda/streams.h"
#include "transfer/device_extras.h"

namespace storm::cuda {
namespace {

struct CudaExtras final : DeviceExtras {
  std::optional<c10::Stream> new_stream(c10::Device device, int priority) const override {
    return create_stream(device, priority);
  }
};

// Runs while the extension loads. Calls no CUDA function: there may be no driver.
[[maybe_unused]] const bool registered = [] {
  register_device_extras(c10::DeviceType::CUDA, std::make_unique<CudaExtras>());
  return true;
}();

}  // namespace
}  // namespace storm::cuda
