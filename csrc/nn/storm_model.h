#pragma once
#include "nn/storm_layer.h"

namespace storm {

// Three StormLayers, numbered 0 to 2, with ReLU between: (..., input_size) -> (..., output_size).
// What its ReLUs save is offloaded too: the input of a layer is the output of a ReLU, which would
// otherwise keep it on the device.
class StormModel : public torch::nn::Module {
 public:
  StormModel(int64_t input_size, int64_t hidden_size, int64_t output_size,
             const at::TensorOptions& options = {});
  at::Tensor forward(const at::Tensor& input);

 private:
  std::vector<std::shared_ptr<StormLayer>> layers_;
};

}  // namespace storm
