// New tensors are torch's own; only a failure on demand comes in between.
#include <ATen/cuda/EmptyTensor.h>
#include <ATen/ops/empty_native.h>
#include <ATen/ops/empty_strided_native.h>
#include <torch/library.h>

#include "demand.h"
#include "overrides.h"
#include "sim/device.h"
#include "sim/geometry.h"

namespace cuda_double {
namespace {

using at::Tensor;
using c10::IntArrayRef;

Tensor empty(IntArrayRef size, std::optional<c10::ScalarType> dtype,
             std::optional<c10::Layout> layout, std::optional<c10::Device> device,
             std::optional<bool> pin_memory, std::optional<c10::MemoryFormat> format) {
  fail_on_demand();
  return at::native::empty_cuda(size, dtype, layout, device, pin_memory, format);
}

Tensor empty_strided(IntArrayRef size, IntArrayRef stride, std::optional<c10::ScalarType> dtype,
                     std::optional<c10::Layout> layout, std::optional<c10::Device> device,
                     std::optional<bool> pin_memory) {
  fail_on_demand();
  return at::native::empty_strided_cuda(size, stride, dtype, layout, device, pin_memory);
}

const Kernels kernels([](torch::Library& m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
});

}  // namespace
}  // namespace cuda_double

namespace storm::sim {

at::Tensor empty_on_device(const Geometry& geometry) {
  if (!geometry.defined) return {};
  cuda_double::fail_on_demand();
  return at::detail::empty_strided_cuda(geometry.sizes, geometry.strides, geometry.dtype,
                                        c10::Device(kDeviceType, current_device()));
}

}  // namespace storm::sim
