// Devices: how many, what they say of themselves, which is the thread's.
#include <cstdio>
#include <cstring>

#include "call.h"

using namespace cuda_double;

namespace {

constexpr int kVersion = CUDART_VERSION;
constexpr int kMajor = 8;
constexpr int kMinor = 0;
constexpr int kWarp = 32;

void check(int device) {
  if (device < 0 || device >= machine().devices()) {
    throw Failure{cudaErrorInvalidDevice,
                  "the CUDA double has no device " + std::to_string(device)};
  }
}

}  // namespace

CUDA_DOUBLE_API cudaError_t cudaGetDeviceCount(int* count) {
  CUDA_DOUBLE_COUNT();
  return answer([&] { *count = machine().devices(); });
}

CUDA_DOUBLE_API cudaError_t cudaGetDevice(int* device) {
  *device = current_device();
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaSetDevice(int device) {
  return answer([&] { set_current_device(device); });
}

CUDA_DOUBLE_API cudaError_t cudaDriverGetVersion(int* version) {
  *version = kVersion;
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kVersion;
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaGetDeviceProperties(cudaDeviceProp* prop, int device) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    check(device);
    std::memset(prop, 0, sizeof *prop);
    std::snprintf(prop->name, sizeof prop->name, "CUDA double %d (host threads)", device);
    std::memcpy(prop->uuid.bytes, "cuda-double-uuid", sizeof prop->uuid.bytes);
    prop->uuid.bytes[15] = static_cast<char>('0' + device);
    prop->totalGlobalMem = machine().memory_limit();
    prop->major = kMajor;
    prop->minor = kMinor;
    prop->multiProcessorCount = 1;
    prop->warpSize = kWarp;
    prop->maxThreadsPerBlock = 1024;
    prop->maxThreadsPerMultiProcessor = 2048;
    prop->sharedMemPerBlock = 48 << 10;
    prop->regsPerBlock = prop->regsPerMultiprocessor = 1 << 16;
    prop->maxBlocksPerMultiProcessor = 32;
    prop->pciBusID = device + 1;
    prop->asyncEngineCount = 2;
    prop->unifiedAddressing = 1;
    for (int d = 0; d < 3; ++d) {
      prop->maxGridSize[d] = 65535;
      prop->maxThreadsDim[d] = d < 2 ? 1024 : 64;
    }
  });
}

CUDA_DOUBLE_API cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute,
                                                   int device) {
  return answer([&] {
    check(device);
    switch (attribute) {
      case cudaDevAttrComputeCapabilityMajor:
        *value = kMajor;
        break;
      case cudaDevAttrComputeCapabilityMinor:
        *value = kMinor;
        break;
      case cudaDevAttrWarpSize:
        *value = kWarp;
        break;
      case cudaDevAttrAsyncEngineCount:
        *value = 2;
        break;
      case cudaDevAttrMultiProcessorCount:
      case cudaDevAttrUnifiedAddressing:
      case cudaDevAttrHostRegisterSupported:
      case cudaDevAttrCanUseHostPointerForRegisteredMem:
        *value = 1;
        break;
      default:
        *value = 0;
    }
  });
}

CUDA_DOUBLE_API cudaError_t cudaDeviceGetPCIBusId(char* text, int size, int device) {
  std::snprintf(text, static_cast<size_t>(size), "0000:%02x:00.0", device + 1);
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  if (least != nullptr) *least = 0;
  if (greatest != nullptr) *greatest = -5;
  return cudaSuccess;
}

// Copies between devices then go the way that needs no kernel of one to read the other's memory.
CUDA_DOUBLE_API cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) {
  *can = 0;
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaDeviceSynchronize() {
  CUDA_DOUBLE_COUNT();
  return answer([] { machine().synchronize(current_device()); });
}
