#pragma once

#include <cuda_runtime_api.h>

namespace cuda_double {

// Whether a stream says that a graph of it is being captured; see csrc/sim/capture.h.
bool is_captured(int device, cudaStream_t stream);

}  // namespace cuda_double
