// The driver's side: this library is also the libcuda.so.1 that torch's loader finds. What torch
// asks for by name and can do without is "not found"; a refusal there would fail the next call
// instead.
#include <cuda.h>

#include <cstdint>
#include <map>
#include <string_view>

#include "call.h"

using namespace cuda_double;

namespace {

CUcontext context_of(int device) {
  return reinterpret_cast<CUcontext>(static_cast<uintptr_t>(device) + 1);
}

CUresult result_of(cudaError_t error) {
  return error == cudaSuccess ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

CUDA_DOUBLE_API CUresult cuInit(unsigned) {
  return CUDA_SUCCESS;
}

CUDA_DOUBLE_API CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  *device = ordinal;
  return result_of(answer([&] {
    if (ordinal >= machine().devices()) throw Failure{cudaErrorInvalidDevice, "no such device"};
  }));
}

CUDA_DOUBLE_API CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute,
                                              CUdevice device) {
  return result_of(cudaDeviceGetAttribute(value, static_cast<cudaDeviceAttr>(attribute), device));
}

CUDA_DOUBLE_API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned* flags, int* active) {
  if (flags != nullptr) *flags = 0;
  return result_of(answer([&] { *active = machine().in_use(device) ? 1 : 0; }));
}

CUDA_DOUBLE_API CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  *context = context_of(device);
  return CUDA_SUCCESS;
}

CUDA_DOUBLE_API CUresult cuCtxGetCurrent(CUcontext* context) {
  *context = context_of(current_device());
  return CUDA_SUCCESS;
}

CUDA_DOUBLE_API CUresult cuCtxSetCurrent(CUcontext context) {
  const auto device = static_cast<int>(reinterpret_cast<uintptr_t>(context)) - 1;
  return result_of(answer([&] { set_current_device(device); }));
}

CUDA_DOUBLE_API CUresult cuGetErrorString(CUresult, const char** text) {
  *text = "refused by the CUDA double";
  return CUDA_SUCCESS;
}

CUDA_DOUBLE_API cudaError_t
cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned, unsigned long long,
                                 cudaDriverEntryPointQueryResult* result) {
  CUDA_DOUBLE_COUNT();
  static const std::map<std::string_view, void*> served = {
      {"cuDeviceGet", reinterpret_cast<void*>(&cuDeviceGet)},
      {"cuDeviceGetAttribute", reinterpret_cast<void*>(&cuDeviceGetAttribute)},
      {"cuDevicePrimaryCtxGetState", reinterpret_cast<void*>(&cuDevicePrimaryCtxGetState)},
      {"cuGetErrorString", reinterpret_cast<void*>(&cuGetErrorString)},
      {"cuCtxGetCurrent", reinterpret_cast<void*>(&cuCtxGetCurrent)},
      {"cuCtxSetCurrent", reinterpret_cast<void*>(&cuCtxSetCurrent)},
  };
  const auto found = served.find(name);
  const bool known = found != served.end();
  *function = known ? found->second : nullptr;
  if (result != nullptr) {
    *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  }
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaProfilerStart() {
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaProfilerStop() {
  return cudaSuccess;
}
