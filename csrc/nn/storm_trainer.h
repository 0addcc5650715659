#pragma once
#include <torch/optim/adam.h>

#include "nn/storm_model.h"

namespace storm {

// A StormModel trained on the mean squared error with torch's C++ Adam (which rounds differently
// from Python's).
class StormTrainer {
 public:
  StormTrainer(int64_t input_size, int64_t hidden_size, int64_t output_size, double learning_rate,
               const at::TensorOptions& options = {});

  // One step on input (..., input_size) and target (..., output_size). Returns the loss before the
  // step, a scalar on the model's device without history. Does not synchronise.
  at::Tensor train_step(const at::Tensor& input, const at::Tensor& target);

  const std::shared_ptr<StormModel>& model() const { return model_; }
  torch::optim::Adam& optimizer() { return optimizer_; }

 private:
  std::shared_ptr<StormModel> model_;
  torch::optim::Adam optimizer_;
};

}  // namespace storm
