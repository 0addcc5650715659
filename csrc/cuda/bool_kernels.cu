// No header of torch: nvcc reads this file once for each architecture.
#include "codec/bool_bits.h"
#include "cuda/bool_kernels.h"

namespace storm::cuda {
namespace {

__device__ int64_t first_lane() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ int64_t lane_step() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

template <bool kAligned>
__global__ void pack_bool_kernel(const uint8_t* __restrict__ bools, int64_t count,
                                 uint8_t* __restrict__ wire) {
  if (codec::pack_lanes<kAligned>(bools, count, wire, first_lane(), lane_step())) {
    atomicOr(reinterpret_cast<unsigned long long*>(wire + codec::stray_word_at(count)), 1ull);
  }
}

template <bool kAligned>
__global__ void unpack_bool_kernel(const uint8_t* __restrict__ wire, int64_t count,
                                   uint8_t* __restrict__ bools) {
  codec::unpack_lanes<kAligned>(wire, count, bools, first_lane(), lane_step());
}

bool is_aligned(const uint8_t* bools) {
  return reinterpret_cast<uintptr_t>(bools) % alignof(codec::BoolLane) == 0;
}

dim3 grid(int64_t count) {
  return dim3(static_cast<unsigned>(codec::bool_blocks(count)));
}

}  // namespace

cudaError_t launch_pack_bool(const uint8_t* bools, int64_t count, uint8_t* wire,
                             cudaStream_t stream) {
  const auto cleared =
      cudaMemsetAsync(wire + codec::stray_word_at(count), 0, sizeof(uint64_t), stream);
  if (cleared != cudaSuccess || count == 0) return cleared;
  const auto kernel = is_aligned(bools) ? &pack_bool_kernel<true> : &pack_bool_kernel<false>;
  kernel<<<grid(count), codec::kBoolThreads, 0, stream>>>(bools, count, wire);
  return cudaGetLastError();
}

cudaError_t launch_unpack_bool(const uint8_t* wire, int64_t count, uint8_t* bools,
                               cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  const auto kernel = is_aligned(bools) ? &unpack_bool_kernel<true> : &unpack_bool_kernel<false>;
  kernel<<<grid(count), codec::kBoolThreads, 0, stream>>>(wire, count, bools);
  return cudaGetLastError();
}

}  // namespace storm::cuda
