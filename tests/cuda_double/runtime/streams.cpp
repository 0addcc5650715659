// Streams. All of them run beside the default stream, which none waits for by itself: torch makes
// no other ones.
#include "call.h"

using namespace cuda_double;

CUDA_DOUBLE_API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned,
                                                         int priority) {
  CUDA_DOUBLE_COUNT();
  return answer([&] { *stream = machine().new_stream(current_device(), priority); });
}

CUDA_DOUBLE_API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return cudaStreamCreateWithPriority(stream, flags, 0);
}

CUDA_DOUBLE_API cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithPriority(stream, 0, 0);
}

// What was issued still runs, as CUDA promises. The thread stays: streams are few.
CUDA_DOUBLE_API cudaError_t cudaStreamDestroy(cudaStream_t) {
  CUDA_DOUBLE_COUNT();
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaStreamGetPriority(cudaStream_t stream, int* priority) {
  return answer([&] { *priority = machine().priority_of(stream); });
}

CUDA_DOUBLE_API cudaError_t cudaStreamGetFlags(cudaStream_t stream, unsigned* flags) {
  *flags = stream == nullptr ? cudaStreamDefault : cudaStreamNonBlocking;
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaStreamQuery(cudaStream_t stream) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    if (!machine().idle(current_device(), stream)) throw Failure{cudaErrorNotReady, "not ready"};
  });
}

CUDA_DOUBLE_API cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  CUDA_DOUBLE_COUNT();
  return answer([&] { machine().synchronize(current_device(), stream); });
}

CUDA_DOUBLE_API cudaError_t cudaStreamIsCapturing(cudaStream_t stream,
                                                  cudaStreamCaptureStatus* status) {
  return answer([&] {
    *status = machine().captured(current_device(), stream) ? cudaStreamCaptureStatusActive
                                                           : cudaStreamCaptureStatusNone;
  });
}

CUDA_DOUBLE_API cudaError_t cudaStreamGetCaptureInfo(cudaStream_t, cudaStreamCaptureStatus* status,
                                                     unsigned long long* id, cudaGraph_t*,
                                                     const cudaGraphNode_t**,
                                                     const cudaGraphEdgeData**, size_t*) {
  *status = cudaStreamCaptureStatusNone;
  if (id != nullptr) *id = 0;
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) {
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function,
                                               void* data) {
  CUDA_DOUBLE_COUNT();
  return answer(
      [&] { machine().call([function, data] { function(data); }, current_device(), stream); });
}

CUDA_DOUBLE_API cudaError_t cudaStreamAddCallback(cudaStream_t stream,
                                                  cudaStreamCallback_t function, void* data,
                                                  unsigned) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    machine().call([=] { function(stream, cudaSuccess, data); }, current_device(), stream);
  });
}
