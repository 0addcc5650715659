#include "cuda/streams.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <algorithm>

namespace storm::cuda {

c10::Stream create_stream(c10::Device device, int priority) {
  const c10::cuda::CUDAGuard guard(device);
  int least_urgent = 0;
  int most_urgent = 0;
  C10_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least_urgent, &most_urgent));
  cudaStream_t stream = nullptr;
  C10_CUDA_CHECK(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking,
                                              std::clamp(priority, most_urgent, least_urgent)));
  return c10::cuda::getStreamFromExternal(stream, guard.current_device().index()).unwrap();
}

}  // namespace storm::cuda
