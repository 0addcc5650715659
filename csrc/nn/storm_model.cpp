#include "nn/storm_model.h"

#include <ATen/ops/relu.h>

#include "autograd/default_context.h"
#include "autograd/hook_dispatch.h"

namespace storm {
namespace {

// Stands where the Python model has an nn.Sequential, so that both have the same state-dict keys.
class Layers : public torch::nn::Module {
 public:
  std::shared_ptr<StormLayer> add(const char* name, std::shared_ptr<StormLayer> layer) {
    return register_module(name, std::move(layer));
  }
};

}  // namespace

StormModel::StormModel(int64_t input_size, int64_t hidden_size, int64_t output_size,
                       const at::TensorOptions& options) {
  auto layers = register_module("layers", std::make_shared<Layers>());
  layers_ = {
      layers->add("0", std::make_shared<StormLayer>(input_size, hidden_size, 0, true, options)),
      layers->add("2", std::make_shared<StormLayer>(hidden_size, hidden_size, 1, true, options)),
      layers->add("4", std::make_shared<StormLayer>(hidden_size, output_size, 2, true, options)),
  };
}

at::Tensor StormModel::forward(const at::Tensor& input) {
  OffloadScope scope(default_context_for(input));
  at::Tensor activation = layers_.front()->forward(input);
  for (size_t i = 1; i < layers_.size(); ++i)
    activation = layers_[i]->forward(at::relu(activation));
  return activation;
}

}  // namespace storm
