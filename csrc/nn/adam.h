#pragma once
#include <torch/optim/adam.h>

namespace storm {

// torch has two Adams that round differently: the one for C++ decays its first moment by a product
// and a sum, the one for Python by one interpolation. This is the C++ class, options, state and
// archive format, with Python's arithmetic, so that training gives the same numbers from either
// language.
class Adam : public torch::optim::Adam {
 public:
  using torch::optim::Adam::Adam;
  at::Tensor step(LossClosure closure = nullptr) override;

 private:
  void update(const at::Tensor& parameter, const torch::optim::AdamOptions& options);
};

}  // namespace storm
