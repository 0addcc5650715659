#pragma once
#include <torch/nn/module.h>

#include <map>
#include <string>

namespace storm {

// Parameters by their keys in a PyTorch state dict; they share memory with the module.
std::map<std::string, at::Tensor> state_dict(const torch::nn::Module& module);

// Copies `state` into the module's parameters. Throws ValueError, having changed nothing, when a
// key is missing, not expected, or of another shape.
void load_state_dict(torch::nn::Module& module, const std::map<std::string, at::Tensor>& state);

}  // namespace storm
