#pragma once
#include <torch/csrc/autograd/custom_function.h>

namespace storm {

// input (..., in) x weight (out, in), bias (out) or none -> (..., out), of any floating or complex
// dtype: the operator `pamiq_storm::storm_forward`, which is torch's linear to the last bit,
// gradients too. Outside any `with offload(...)` what it saves goes to the device's default
// context. `layer_id` is a label for traces.
at::Tensor storm_forward(const at::Tensor& input, const at::Tensor& weight,
                         const std::optional<at::Tensor>& bias, int64_t layer_id = -1);

// Its autograd node. Saves through torch's SavedVariables, so what becomes of the input is for the
// saved-tensor hooks in force around `apply` to decide; saves nothing that no gradient needs.
class StormForwardFunction : public torch::autograd::Function<StormForwardFunction> {
 public:
  static constexpr bool is_traceable = true;  // backward is made of torch's own operations

  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& input,
                            const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                            int64_t layer_id);
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 const torch::autograd::variable_list& grads);
};

}  // namespace storm
