// Dropout: CPU has no fused kernel that takes a generator.
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/native_dropout_backward.h>
#include <torch/library.h>

#include "sim/device_type.h"
#include "sim/generator.h"
#include "sim/host_view.h"
#include "sim/launch.h"

namespace storm::sim {
namespace {

using at::Tensor;

std::tuple<Tensor, Tensor> native_dropout(const Tensor& input, double p,
                                          std::optional<bool> train) {
  CurrentDevice guard(input.device().index());
  auto out = at::empty_like(input);
  auto mask = at::empty_like(input, input.options().dtype(at::kBool));
  if (!train.value_or(true)) p = 0;
  Effects effects;
  effects.reads(input, "input").writes(out, "output").writes(mask, "mask");
  launch("aten::native_dropout", effects,
         [input = host_view(input), out = host_view(out), mask = host_view(mask),
          generator = kernel_generator({}), p]() mutable {
           mask.bernoulli_(1 - p, generator);
           at::mul_out(out, input, mask);
           out.mul_(p == 1 ? 0.0 : 1 / (1 - p));
         });
  return {out, mask};
}

STORM_SIM_KERNELS(m) {
  m.impl("native_dropout", native_dropout);
}

}  // namespace
}  // namespace storm::sim
