#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace storm::cuda {

// Queue on `stream` and do not synchronise. The wire lies at a multiple of 8, the bools anywhere.
// What the kernels move, and so the time to expect of them, is codec::pack_bool_bytes and
// codec::unpack_bool_bytes.
cudaError_t launch_pack_bool(const uint8_t* bools, int64_t count, uint8_t* wire,
                             cudaStream_t stream);
cudaError_t launch_unpack_bool(const uint8_t* wire, int64_t count, uint8_t* bools,
                               cudaStream_t stream);

}  // namespace storm::cuda
