#include "nn/storm_layer.h"

#include <torch/nn/init.h>

#include "autograd/storm_forward.h"

namespace storm {

StormLayer::StormLayer(int64_t in_features, int64_t out_features, int64_t layer_id, bool bias,
                       const at::TensorOptions& options)
    : layer_id_(layer_id) {
  TORCH_CHECK_VALUE(in_features >= 0 && out_features >= 0,
                    "StormLayer needs sizes of at least 0, got in_features=", in_features,
                    ", out_features=", out_features);
  weight = register_parameter("weight", at::empty({out_features, in_features}, options));
  if (bias) this->bias = register_parameter("bias", at::empty({out_features}, options));
  reset_parameters();
}

void StormLayer::reset_parameters() {
  torch::nn::init::kaiming_uniform_(weight, std::sqrt(5.0));
  if (!bias.defined()) return;
  const auto fan_in = static_cast<double>(weight.size(1));
  const double bound = fan_in > 0 ? 1.0 / std::sqrt(fan_in) : 0.0;
  torch::nn::init::uniform_(bias, -bound, bound);
}

at::Tensor StormLayer::forward(const at::Tensor& input) {
  return storm_forward(input, weight, bias.defined() ? std::optional(bias) : std::nullopt,
                       layer_id_);
}

void StormLayer::pretty_print(std::ostream& stream) const {
  stream << "storm::StormLayer(in_features=" << weight.size(1)
         << ", out_features=" << weight.size(0) << ", bias=" << (bias.defined() ? "true" : "false")
         << ", layer_id=" << layer_id_ << ")";
}

}  // namespace storm
