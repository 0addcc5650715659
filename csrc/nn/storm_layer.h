#pragma once
#include <torch/nn/module.h>

namespace storm {

// A linear layer whose saved input is offloaded: (..., in_features) -> (..., out_features).
// Initialised as nn.Linear is, with the same draws, and saved under the same keys, `weight` and
// `bias`.
class StormLayer : public torch::nn::Module {
 public:
  // `layer_id` is a label for traces; -1: none. `options`: device and dtype of the parameters.
  StormLayer(int64_t in_features, int64_t out_features, int64_t layer_id = -1, bool bias = true,
             const at::TensorOptions& options = {});

  at::Tensor forward(const at::Tensor& input);
  void reset_parameters();
  void pretty_print(std::ostream& stream) const override;
  int64_t layer_id() const { return layer_id_; }

  at::Tensor weight;  // (out_features, in_features)
  at::Tensor bias;    // (out_features), or undefined

 private:
  const int64_t layer_id_;
};

}  // namespace storm
