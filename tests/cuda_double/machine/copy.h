// Copies that the runtime is asked for, on the simulator's link.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>

#include "sim/stream.h"

namespace cuda_double {

// Blocks where CUDA's does: for pageable memory.
void copy_bytes(void* to, const void* from, size_t bytes, storm::sim::Stream& stream);

}  // namespace cuda_double
