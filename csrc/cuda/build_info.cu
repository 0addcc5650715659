// Only nvcc knows what it compiles for, so this is a source of its own.
#include "base/build_info.h"

#include <cuda_runtime_api.h>

#include <string>

namespace storm::cuda {
namespace {

[[maybe_unused]] const bool told = [] {
  set_vendor_build({"CUDA " + std::to_string(CUDART_VERSION / 1000) + "." +
                        std::to_string(CUDART_VERSION % 1000 / 10),
                    {__CUDA_ARCH_LIST__}});
  return true;
}();

}  // namespace
}  // namespace storm::cuda
