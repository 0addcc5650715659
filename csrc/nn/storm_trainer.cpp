#include "nn/storm_trainer.h"

#include <ATen/ops/mse_loss.h>

namespace storm {

StormTrainer::StormTrainer(int64_t input_size, int64_t hidden_size, int64_t output_size,
                           double learning_rate, const at::TensorOptions& options)
    : model_(std::make_shared<StormModel>(input_size, hidden_size, output_size, options)),
      optimizer_(model_->parameters(), learning_rate) {}

at::Tensor StormTrainer::train_step(const at::Tensor& input, const at::Tensor& target) {
  optimizer_.zero_grad();
  const at::Tensor output = model_->forward(input);
  TORCH_CHECK_VALUE(target.sizes() == output.sizes(),
                    "train_step needs a target of the output's shape ", output.sizes(), ", got ",
                    target.sizes());
  TORCH_CHECK_VALUE(target.device() == output.device(), "train_step needs a target on ",
                    output.device(), ", where the model is, got one on ", target.device());
  const at::Tensor loss = at::mse_loss(output, target);
  loss.backward();
  optimizer_.step();
  return loss.detach();
}

}  // namespace storm
