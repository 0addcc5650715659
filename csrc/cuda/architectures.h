#pragma once
#include <vector>

namespace storm::cuda {

// What the kernels were compiled for, as major * 100 + minor * 10.
std::vector<int> architectures();

}  // namespace storm::cuda
