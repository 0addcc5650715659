// Layer and group norm with CPU's numbers, saving what CUDA saves: of half precision inputs, mean
// and deviation in single precision, which CPU's kernels give if the weights are of single
// precision.
#include <ATen/OpMathType.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/native_group_norm.h>
#include <ATen/ops/native_group_norm_backward.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/ones.h>
#include <torch/library.h>

#include "sim/device_type.h"
#include "sim/host_view.h"
#include "sim/launch.h"

namespace storm::sim {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using Three = std::tuple<Tensor, Tensor, Tensor>;

c10::ScalarType statistics_type(const Tensor& input) {
  return at::toOpMathType(input.scalar_type());
}

Tensor empty_statistics(const Tensor& input, at::IntArrayRef sizes) {
  return at::empty(sizes, input.options().dtype(statistics_type(input)));
}

// On the host, in the statistics' precision; half inputs need a weight for it.
OptionalTensor scale(const OptionalTensor& weight, const Tensor& input, at::IntArrayRef sizes) {
  const auto dtype = statistics_type(input);
  if (weight) return weight->to(dtype);
  if (dtype == input.scalar_type()) return std::nullopt;
  return at::ones(sizes, input.options().dtype(dtype));
}
OptionalTensor shift(const OptionalTensor& bias, const Tensor& input) {
  if (!bias) return std::nullopt;
  return bias->to(statistics_type(input));
}

void store(const Tensor& result, const Tensor& target) {
  if (target.defined()) target.copy_(result);
}

Work two_passes(const Effects& effects) {
  Work work = Work::over(effects);
  work.bytes *= 2;
  return work;
}

struct Gradients {
  Tensor input, weight, bias;

  Gradients(const Tensor& of, const OptionalTensor& weight_like, at::IntArrayRef weight_sizes,
            std::array<bool, 3> wanted) {
    const auto options =
        weight_like && weight_like->defined() ? weight_like->options() : of.options();
    if (wanted[0]) input = at::empty_like(of);
    if (wanted[1]) weight = at::empty(weight_sizes, options);
    if (wanted[2]) bias = at::empty(weight_sizes, options);
  }
  void written(Effects& effects) const {
    effects.writes(input, "grad_input").writes(weight, "grad_weight").writes(bias, "grad_bias");
  }
  Three tuple() const { return {input, weight, bias}; }
};

Three layer_norm(const Tensor& input, at::IntArrayRef shape, const OptionalTensor& weight,
                 const OptionalTensor& bias, double eps) {
  CurrentDevice guard(input.device().index());
  auto out = at::empty_like(input, at::MemoryFormat::Contiguous);
  auto sizes = input.sizes().vec();
  std::fill(sizes.end() - static_cast<ptrdiff_t>(shape.size()), sizes.end(), 1);
  auto mean = empty_statistics(input, sizes), rstd = empty_statistics(input, sizes);
  Effects effects;
  effects.reads(input, "input").reads(weight, "weight").reads(bias, "bias");
  effects.writes(out, "output").writes(mean, "mean").writes(rstd, "rstd");
  launch("aten::native_layer_norm", effects,
         [input = host_view(input), weight = host_view(weight), bias = host_view(bias),
          out = host_view(out), mean = host_view(mean), rstd = host_view(rstd), shape = shape.vec(),
          eps] {
           auto [o, m, r] = at::native_layer_norm(input, shape, scale(weight, input, shape),
                                                  shift(bias, input), eps);
           out.copy_(o);
           mean.copy_(m);
           rstd.copy_(r);
         });
  return {out, mean, rstd};
}

Three layer_norm_backward(const Tensor& grad_out, const Tensor& input, at::IntArrayRef shape,
                          const Tensor& mean, const Tensor& rstd, const OptionalTensor& weight,
                          const OptionalTensor& bias, std::array<bool, 3> wanted) {
  CurrentDevice guard(input.device().index());
  const Gradients grads(input, weight, shape, wanted);
  Effects effects;
  effects.reads(grad_out, "grad_out").reads(input, "input").reads(mean, "mean");
  effects.reads(rstd, "rstd").reads(weight, "weight");
  grads.written(effects);
  launch("aten::native_layer_norm_backward", effects, two_passes(effects),
         [grad = host_view(grad_out), input = host_view(input), mean = host_view(mean),
          rstd = host_view(rstd), weight = host_view(weight), bias = host_view(bias),
          gi = host_view(grads.input), gw = host_view(grads.weight), gb = host_view(grads.bias),
          shape = shape.vec(), wanted] {
           auto [a, b, c] = at::native_layer_norm_backward(grad, input, shape, mean, rstd,
                                                           scale(weight, input, shape),
                                                           shift(bias, input), wanted);
           store(a, gi);
           store(b, gw);
           store(c, gb);
         });
  return grads.tuple();
}

Three group_norm(const Tensor& input, const OptionalTensor& weight, const OptionalTensor& bias,
                 c10::SymInt n, c10::SymInt c, c10::SymInt hxw, int64_t groups, double eps) {
  CurrentDevice guard(input.device().index());
  const int64_t N = n.expect_int(), C = c.expect_int(), HxW = hxw.expect_int();
  auto out = at::empty_like(input, input.suggest_memory_format());
  auto mean = empty_statistics(input, {N, groups}), rstd = empty_statistics(input, {N, groups});
  Effects effects;
  effects.reads(input, "input").reads(weight, "weight").reads(bias, "bias");
  effects.writes(out, "output").writes(mean, "mean").writes(rstd, "rstd");
  launch("aten::native_group_norm", effects,
         [=, input = host_view(input), weight = host_view(weight), bias = host_view(bias),
          out = host_view(out), mean = host_view(mean), rstd = host_view(rstd)] {
           auto [o, m, r] = at::native_group_norm(input, scale(weight, input, {C}),
                                                  shift(bias, input), N, C, HxW, groups, eps);
           out.copy_(o);
           mean.copy_(m);
           rstd.copy_(r);
         });
  return {out, mean, rstd};
}

Three group_norm_backward(const Tensor& grad_out, const Tensor& input, const Tensor& mean,
                          const Tensor& rstd, const OptionalTensor& weight, c10::SymInt n,
                          c10::SymInt c, c10::SymInt hxw, int64_t groups,
                          std::array<bool, 3> wanted) {
  CurrentDevice guard(input.device().index());
  const int64_t N = n.expect_int(), C = c.expect_int(), HxW = hxw.expect_int();
  const Gradients grads(input, weight, {C}, wanted);
  Effects effects;
  effects.reads(grad_out, "grad_out").reads(input, "input").reads(mean, "mean");
  effects.reads(rstd, "rstd").reads(weight, "weight");
  grads.written(effects);
  launch("aten::native_group_norm_backward", effects, two_passes(effects),
         [=, grad = host_view(grad_out), input = host_view(input), mean = host_view(mean),
          rstd = host_view(rstd), weight = host_view(weight), gi = host_view(grads.input),
          gw = host_view(grads.weight), gb = host_view(grads.bias)] {
           auto [x, y, z] = at::native_group_norm_backward(
               grad, input, mean, rstd, scale(weight, input, {C}), N, C, HxW, groups, wanted);
           store(x, gi);
           store(y, gw);
           store(z, gb);
         });
  return grads.tuple();
}

STORM_SIM_KERNELS(m) {
  m.impl("native_layer_norm", layer_norm);
  m.impl("native_layer_norm_backward", layer_norm_backward);
  m.impl("native_group_norm", group_norm);
  m.impl("native_group_norm_backward", group_norm_backward);
}

}  // namespace
}  // namespace storm::sim
