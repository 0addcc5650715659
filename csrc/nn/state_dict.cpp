#include "nn/state_dict.h"

#include <c10/core/GradMode.h>

namespace storm {

std::map<std::string, at::Tensor> state_dict(const torch::nn::Module& module) {
  std::map<std::string, at::Tensor> state;
  for (const auto& entry : module.named_parameters())
    state.emplace(entry.key(), entry.value().detach());
  return state;
}

void load_state_dict(torch::nn::Module& module, const std::map<std::string, at::Tensor>& state) {
  const auto own = state_dict(module);
  for (const auto& [key, tensor] : own) {
    const auto given = state.find(key);
    TORCH_CHECK_VALUE(given != state.end(), "the state dict lacks ", key, ", of shape ",
                      tensor.sizes());
    TORCH_CHECK_VALUE(given->second.sizes() == tensor.sizes(), "the state dict's ", key,
                      " has shape ", given->second.sizes(), ", the model's ", tensor.sizes());
  }
  for (const auto& [key, tensor] : state) {
    TORCH_CHECK_VALUE(own.count(key) > 0, "the model has no ", key, ", of shape ", tensor.sizes());
  }
  c10::NoGradGuard no_grad;
  for (const auto& [key, tensor] : own) tensor.copy_(state.at(key));
}

}  // namespace storm
