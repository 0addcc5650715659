// CPU kernels in the place of torch's CUDA kernels.
#pragma once

namespace torch {
class Library;
}

namespace cuda_double {

// Kernels of one source file of the simulator, put in place by override_operations().
class Kernels {
 public:
  using Register = void (*)(torch::Library&);
  explicit Kernels(Register add);
};

// Every operation with a CUDA kernel for which a CPU kernel can stand gets that; those that launch
// nothing keep theirs. Again after extensions have brought operations of their own.
void override_operations();

}  // namespace cuda_double
