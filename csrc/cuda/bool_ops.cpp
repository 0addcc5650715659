#include "codec/bool_ops.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "cuda/bool_kernels.h"

namespace storm::cuda {
namespace {

void pack_bool(const at::Tensor& bools, const at::Tensor& wire) {
  codec::check_bools(bools, wire);
  const c10::cuda::CUDAGuard guard(bools.device());
  C10_CUDA_CHECK(launch_pack_bool(static_cast<const uint8_t*>(bools.const_data_ptr()),
                                  bools.numel(), static_cast<uint8_t*>(wire.mutable_data_ptr()),
                                  c10::cuda::getCurrentCUDAStream()));
}

void unpack_bool(const at::Tensor& wire, const at::Tensor& bools) {
  codec::check_bools(bools, wire);
  const c10::cuda::CUDAGuard guard(bools.device());
  C10_CUDA_CHECK(launch_unpack_bool(static_cast<const uint8_t*>(wire.const_data_ptr()),
                                    bools.numel(), static_cast<uint8_t*>(bools.mutable_data_ptr()),
                                    c10::cuda::getCurrentCUDAStream()));
}

TORCH_LIBRARY_IMPL(pamiq_storm, CUDA, m) {
  m.impl("pack_bool", &pack_bool);
  m.impl("unpack_bool", &unpack_bool);
}

}  // namespace
}  // namespace storm::cuda
