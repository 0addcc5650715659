// Only nvcc knows what it compiles for, so this is a source of its own.
#include "cuda/architectures.h"

namespace storm::cuda {

std::vector<int> architectures() {
  return {__CUDA_ARCH_LIST__};
}

}  // namespace storm::cuda
