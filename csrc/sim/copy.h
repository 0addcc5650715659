// Copies within the device, between devices, and over the link.
#pragma once

#include <ATen/core/Tensor.h>

namespace storm::sim {

// Copies `from` into `to` on the current stream. Between host and device the call returns at once
// only if `non_blocking` and the host side is pinned; pageable memory blocks the caller.
void copy_tensor(const at::Tensor& from, const at::Tensor& to, bool non_blocking);

}  // namespace storm::sim
