#include "nn/adam.h"

#include <ATen/ops/maximum.h>
#include <ATen/ops/zeros_like.h>

namespace storm {

at::Tensor Adam::step(LossClosure closure) {
  at::Tensor loss;
  if (closure) {
    c10::AutoGradMode with_grad(true);
    loss = closure();
  }
  c10::NoGradGuard no_grad;
  for (auto& group : param_groups_) {
    const auto& options = static_cast<const torch::optim::AdamOptions&>(group.options());
    for (const auto& parameter : group.params()) {
      if (parameter.grad().defined()) update(parameter, options);
    }
  }
  return loss;
}

void Adam::update(const at::Tensor& parameter, const torch::optim::AdamOptions& options) {
  auto& slot = state_[parameter.unsafeGetTensorImpl()];
  if (!slot) {
    auto fresh = std::make_unique<torch::optim::AdamParamState>();
    fresh->exp_avg(at::zeros_like(parameter));
    fresh->exp_avg_sq(at::zeros_like(parameter));
    if (options.amsgrad()) fresh->max_exp_avg_sq(at::zeros_like(parameter));
    slot = std::move(fresh);
  }
  auto& state = static_cast<torch::optim::AdamParamState&>(*slot);
  state.step(state.step() + 1);

  const auto [beta1, beta2] = options.betas();
  at::Tensor grad = parameter.grad();
  if (options.weight_decay() != 0) grad = grad.add(parameter, options.weight_decay());
  state.exp_avg().lerp_(grad, 1 - beta1);
  state.exp_avg_sq().mul_(beta2).addcmul_(grad, grad, 1 - beta2);
  if (options.amsgrad())
    state.max_exp_avg_sq(at::maximum(state.max_exp_avg_sq(), state.exp_avg_sq()));

  const double steps = static_cast<double>(state.step());
  const double correction1 = 1 - std::pow(beta1, steps), correction2 = 1 - std::pow(beta2, steps);
  const at::Tensor& second = options.amsgrad() ? state.max_exp_avg_sq() : state.exp_avg_sq();
  const at::Tensor denominator = (second.sqrt() / std::sqrt(correction2)).add_(options.eps());
  parameter.addcdiv_(state.exp_avg(), denominator, -(options.lr() / correction1));
}

}  // namespace storm
