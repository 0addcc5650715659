// How a CPU kernel sees a device tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include "sim/device.h"

namespace storm::sim {

inline bool on_device(const at::Tensor& tensor) {
  return tensor.defined() && tensor.device().type() == kDeviceType;
}

// A CPU tensor over the same bytes that does not keep them alive: as on a GPU, memory stays valid
// by stream order alone. Also for CPU tensors whose object must not travel to another thread.
at::Tensor host_view(const at::Tensor& tensor);

inline std::optional<at::Tensor> host_view(const std::optional<at::Tensor>& tensor) {
  if (!tensor.has_value() || !tensor->defined()) return std::nullopt;
  return host_view(*tensor);
}

}  // namespace storm::sim
