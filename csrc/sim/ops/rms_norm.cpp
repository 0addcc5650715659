// Fused RMS norm: saves the input and one number per row, as CUDA's does.
#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/_fused_rms_norm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "sim/device_type.h"
#include "sim/host_view.h"
#include "sim/launch.h"

namespace storm::sim {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

std::vector<int64_t> row_sizes(const Tensor& input, size_t normalized_dims) {
  auto sizes = input.sizes().vec();
  std::fill(sizes.end() - static_cast<ptrdiff_t>(normalized_dims), sizes.end(), 1);
  return sizes;
}

std::vector<int64_t> last_dims(size_t count) {
  std::vector<int64_t> dims;
  for (size_t i = 1; i <= count; ++i) dims.push_back(-static_cast<int64_t>(i));
  return dims;
}

std::tuple<Tensor, Tensor> rms_norm(const Tensor& input, at::IntArrayRef shape,
                                    const OptionalTensor& weight, std::optional<double> eps) {
  CurrentDevice guard(input.device().index());
  auto out = at::empty_like(input, at::MemoryFormat::Contiguous);
  auto rstd = at::empty(row_sizes(input, shape.size()),
                        input.options().dtype(at::toOpMathType(input.scalar_type())));
  Effects effects;
  effects.reads(input, "input").reads(weight, "weight").writes(out, "output").writes(rstd, "rstd");
  launch("aten::_fused_rms_norm", effects,
         [input = host_view(input), weight = host_view(weight), out = host_view(out),
          rstd = host_view(rstd), shape = shape.vec(), eps] {
           auto [o, r] = at::_fused_rms_norm(input, shape, weight, eps);
           out.copy_(o);
           rstd.copy_(r);
         });
  return {out, rstd};
}

// With n = x * rstd: dx = rstd * (g - n * mean(g * n)) for g = grad * weight, dw = sum(grad * n).
std::tuple<Tensor, Tensor> rms_norm_backward(const Tensor& grad_out, const Tensor& input,
                                             at::IntArrayRef shape, const Tensor& rstd,
                                             const OptionalTensor& weight,
                                             std::array<bool, 2> wanted) {
  CurrentDevice guard(input.device().index());
  Tensor grad_input, grad_weight;
  if (wanted[0]) grad_input = at::empty_like(input, at::MemoryFormat::Contiguous);
  if (wanted[1] && weight && weight->defined()) grad_weight = at::empty_like(*weight);
  Effects effects;
  effects.reads(grad_out, "grad_out").reads(input, "input").reads(rstd, "rstd");
  effects.reads(weight, "weight")
      .writes(grad_input, "grad_input")
      .writes(grad_weight, "grad_weight");
  Work work = Work::over(effects);
  if (grad_weight.defined()) work.bytes += bytes_of(grad_out) + bytes_of(input);  // a second pass
  launch("aten::_fused_rms_norm_backward", effects, work,
         [grad_out = host_view(grad_out), input = host_view(input), rstd = host_view(rstd),
          weight = host_view(weight), gi = host_view(grad_input), gw = host_view(grad_weight),
          shape = shape.vec()] {
           const auto grad = grad_out.to(rstd.scalar_type());
           const auto normed = input.to(rstd.scalar_type()) * rstd;
           if (gi.defined()) {
             const auto g = weight ? grad * *weight : grad;
             gi.copy_(rstd * (g - normed * (g * normed).mean(last_dims(shape.size()), true)));
           }
           if (gw.defined()) {
             std::vector<int64_t> rows{-1};
             rows.insert(rows.end(), shape.begin(), shape.end());
             gw.copy_((grad * normed).reshape(rows).sum(0));
           }
         });
  return {grad_input, grad_weight};
}

STORM_SIM_KERNELS(m) {
  m.impl("_fused_rms_norm", rms_norm);
  m.impl("_fused_rms_norm_backward", rms_norm_backward);
}

}  // namespace
}  // namespace storm::sim
