// Device memory, pinned memory, and which is which.
#include <cstring>

#include "call.h"

using namespace cuda_double;

CUDA_DOUBLE_API cudaError_t cudaMalloc(void** begin, size_t bytes) {
  CUDA_DOUBLE_COUNT();
  *begin = nullptr;
  return answer([&] { *begin = machine().allocate(current_device(), bytes); });
}

CUDA_DOUBLE_API cudaError_t cudaFree(void* begin) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    if (begin != nullptr) machine().free(begin);
  });
}

CUDA_DOUBLE_API cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    const size_t used = machine().memory_used(current_device());
    *total = machine().memory_limit();
    *free = *total - std::min(used, *total);
  });
}

CUDA_DOUBLE_API cudaError_t cudaHostAlloc(void** begin, size_t bytes, unsigned) {
  CUDA_DOUBLE_COUNT();
  *begin = nullptr;
  return answer([&] { *begin = machine().allocate_pinned(bytes); });
}

CUDA_DOUBLE_API cudaError_t cudaMallocHost(void** begin, size_t bytes) {
  return cudaHostAlloc(begin, bytes, cudaHostAllocDefault);
}

CUDA_DOUBLE_API cudaError_t cudaFreeHost(void* begin) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    if (begin != nullptr) machine().free_pinned(begin);
  });
}

CUDA_DOUBLE_API cudaError_t cudaHostRegister(void* begin, size_t bytes, unsigned) {
  CUDA_DOUBLE_COUNT();
  return answer([&] { machine().pin(begin, bytes); });
}

CUDA_DOUBLE_API cudaError_t cudaHostUnregister(void* begin) {
  CUDA_DOUBLE_COUNT();
  return answer([&] { machine().unpin(begin); });
}

CUDA_DOUBLE_API cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  *device = host;
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* out,
                                                     const void* address) {
  return answer([&] {
    std::memset(out, 0, sizeof *out);
    const Memory memory = machine().what_is(address);
    auto* plain = const_cast<void*>(address);
    switch (memory.kind) {
      case MemoryKind::device:
        out->type = cudaMemoryTypeDevice;
        out->device = memory.device;
        out->devicePointer = plain;
        break;
      case MemoryKind::pinned:
        out->type = cudaMemoryTypeHost;
        out->device = current_device();
        out->hostPointer = out->devicePointer = plain;
        break;
      case MemoryKind::pageable:
        out->type = cudaMemoryTypeUnregistered;
        out->device = cudaInvalidDeviceId;
        out->hostPointer = plain;
    }
  });
}
