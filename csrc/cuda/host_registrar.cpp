#include "cuda/host_registrar.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGraphsC10Utils.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

namespace storm::cuda {

// On the pool's device, where a context is anyway; another device would get one for nothing. Other
// threads may be capturing a graph meanwhile: it is none of theirs.
void Registrar::pin(void* begin, size_t bytes, c10::Device device) const {
  const c10::cuda::CUDAGuard guard(device);
  const c10::cuda::CUDAStreamCaptureModeGuard capture(cudaStreamCaptureModeRelaxed);
  const auto error = cudaHostRegister(begin, bytes, cudaHostRegisterPortable);
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // handled here: nobody else is to find it
  TORCH_CHECK(false, "cudaHostRegister: ", cudaGetErrorString(error));
}

void Registrar::unpin(void* begin, c10::Device device) const noexcept {
  try {
    const c10::cuda::CUDAGuard guard(device);
    const c10::cuda::CUDAStreamCaptureModeGuard capture(cudaStreamCaptureModeRelaxed);
    if (cudaHostUnregister(begin) != cudaSuccess) static_cast<void>(cudaGetLastError());
  } catch (...) {  // a lost device: it reaches nothing any more
  }
}

}  // namespace storm::cuda
