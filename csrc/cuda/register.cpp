#include <cuda_runtime_api.h>

#include <memory>
#include <optional>
#include <string>

#include "cuda/architectures.h"
#include "cuda/copy_batch.h"
#include "cuda/host_registrar.h"
#include "cuda/ranges.h"
#include "cuda/streams.h"
#include "transfer/device_extras.h"

namespace storm::cuda {
namespace {

std::string toolkit() {
  return "CUDA " + std::to_string(CUDART_VERSION / 1000) + "." +
         std::to_string(CUDART_VERSION % 1000 / 10);
}

struct CudaExtras final : DeviceExtras {
  VendorBuild built_with() const override { return {toolkit(), architectures()}; }
  std::optional<c10::Stream> new_stream(c10::Device device, int priority) const override {
    return create_stream(device, priority);
  }
  const HostRegistrar* host_registrar() const override { return &registrar; }
  bool copy_batch(c10::ArrayRef<CopySpan> spans, const c10::Stream& stream) const override {
    return cuda::copy_batch(spans, stream);
  }
  void begin_range(const char* name) const noexcept override { cuda::begin_range(name); }
  void end_range() const noexcept override { cuda::end_range(); }
  void mark(const char* name) const noexcept override { cuda::mark(name); }

  const Registrar registrar;
};

// Runs while the extension loads. Calls no CUDA function: there may be no driver.
[[maybe_unused]] const bool registered = [] {
  register_device_extras(c10::DeviceType::CUDA, std::make_unique<CudaExtras>());
  return true;
}();

}  // namespace
}  // namespace storm::cuda
