// Copies and fills. Which way a copy goes is told by its addresses, as with cudaMemcpyDefault.
#include "call.h"

using namespace cuda_double;

namespace {

void copy(void* to, const void* from, size_t bytes, cudaStream_t stream) {
  if (bytes > 0) machine().copy(to, from, bytes, current_device(), stream);
}

}  // namespace

CUDA_DOUBLE_API cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes,
                                            cudaMemcpyKind, cudaStream_t stream) {
  CUDA_DOUBLE_COUNT();
  return answer([&] { copy(to, from, bytes, stream); });
}

CUDA_DOUBLE_API cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    copy(to, from, bytes, nullptr);
    machine().synchronize(current_device(), nullptr);
  });
}

CUDA_DOUBLE_API cudaError_t cudaMemcpyPeerAsync(void* to, int, const void* from, int, size_t bytes,
                                                cudaStream_t stream) {
  CUDA_DOUBLE_COUNT();
  return answer([&] { copy(to, from, bytes, stream); });
}

CUDA_DOUBLE_API cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from,
                                              size_t from_pitch, size_t width, size_t height,
                                              cudaMemcpyKind, cudaStream_t stream) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    for (size_t row = 0; row < height; ++row) {
      copy(static_cast<char*>(to) + row * to_pitch,
           static_cast<const char*>(from) + row * from_pitch, width, stream);
    }
  });
}

// CUDA promises no order among the copies of a batch; here they come one after the other.
CUDA_DOUBLE_API cudaError_t cudaMemcpyBatchAsync(void* const* to, const void* const* from,
                                                 const size_t* bytes, size_t count,
                                                 cudaMemcpyAttributes*, size_t*, size_t,
                                                 cudaStream_t stream) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    if (stream == nullptr) {
      throw Failure{cudaErrorInvalidValue, "cudaMemcpyBatchAsync takes no default stream"};
    }
    for (size_t i = 0; i < count; ++i) copy(to[i], from[i], bytes[i], stream);
  });
}

CUDA_DOUBLE_API cudaError_t cudaMemsetAsync(void* begin, int value, size_t bytes,
                                            cudaStream_t stream) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    if (bytes > 0) machine().fill(begin, value, bytes, current_device(), stream);
  });
}

CUDA_DOUBLE_API cudaError_t cudaMemset(void* begin, int value, size_t bytes) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    if (bytes > 0) machine().fill(begin, value, bytes, current_device(), nullptr);
    machine().synchronize(current_device(), nullptr);
  });
}
