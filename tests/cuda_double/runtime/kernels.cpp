// Kernels have names and do not run. torch registers all of its kernels while it loads, before
// there is a machine; a launch is refused with the kernel's name.
#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "call.h"

using namespace cuda_double;

namespace {

struct Names {
  std::shared_mutex mutex;  // guards all
  std::unordered_map<const void*, const char*> all;
};

Names& names() {
  static auto* instance = new Names;
  return *instance;
}

std::string name_of(const void* kernel) {
  const char* mangled = nullptr;
  {
    std::shared_lock lock(names().mutex);
    const auto found = names().all.find(kernel);
    if (found != names().all.end()) mangled = found->second;
  }
  if (mangled == nullptr) return "a kernel that nobody registered";
  int status = 0;
  char* readable = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name = status == 0 ? readable : mangled;
  std::free(readable);
  return name;
}

cudaError_t refuse_launch(const void* kernel) {
  return answer([&] {
    throw Failure{
        cudaErrorNotSupported,
        "the CUDA double runs no CUDA kernels, and nothing stands for " + name_of(kernel)};
  });
}

struct LaunchConfiguration {
  dim3 grid, block;
  size_t shared = 0;
  void* stream = nullptr;
};
thread_local LaunchConfiguration t_configuration;

}  // namespace

CUDA_DOUBLE_API void** __cudaRegisterFatBinary(void*) {
  static void* unused = nullptr;
  return &unused;
}
CUDA_DOUBLE_API void __cudaRegisterFatBinaryEnd(void**) {}
CUDA_DOUBLE_API void __cudaUnregisterFatBinary(void**) {}
CUDA_DOUBLE_API void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
CUDA_DOUBLE_API char __cudaInitModule(void**) {
  return 1;
}

CUDA_DOUBLE_API void __cudaRegisterFunction(void**, const char* kernel, char*, const char* name,
                                            int, uint3*, uint3*, dim3*, dim3*, int*) {
  std::lock_guard lock(names().mutex);
  names().all.emplace(kernel, name);
}

CUDA_DOUBLE_API unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared,
                                                     CUstream_st* stream) {
  t_configuration = {grid, block, shared, stream};
  return 0;
}

CUDA_DOUBLE_API cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared,
                                                       void* stream) {
  *grid = t_configuration.grid;
  *block = t_configuration.block;
  *shared = t_configuration.shared;
  *static_cast<void**>(stream) = t_configuration.stream;
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3, dim3, void**, size_t,
                                               cudaStream_t) {
  CUDA_DOUBLE_COUNT();
  return refuse_launch(kernel);
}

CUDA_DOUBLE_API cudaError_t cudaLaunchKernel(const void* kernel, dim3, dim3, void**, size_t,
                                             cudaStream_t) {
  CUDA_DOUBLE_COUNT();
  return refuse_launch(kernel);
}

CUDA_DOUBLE_API cudaError_t cudaLaunchCooperativeKernel(const void* kernel, dim3, dim3, void**,
                                                        size_t, cudaStream_t) {
  CUDA_DOUBLE_COUNT();
  return refuse_launch(kernel);
}

CUDA_DOUBLE_API cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t*, const void* kernel,
                                                void**) {
  CUDA_DOUBLE_COUNT();
  return refuse_launch(kernel);
}

// What torch asks of a kernel before it launches it, and is refused there.
CUDA_DOUBLE_API cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  std::memset(attributes, 0, sizeof *attributes);
  attributes->maxThreadsPerBlock = 1024;
  attributes->binaryVersion = attributes->ptxVersion = 80;
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks,
                                                                                   const void*, int,
                                                                                   size_t,
                                                                                   unsigned) {
  *blocks = 1;
  return cudaSuccess;
}
