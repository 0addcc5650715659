// Convolution, forward and backward, with result shapes worked out beforehand.
#include <ATen/native/ConvUtils.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include "sim/device_type.h"
#include "sim/host_view.h"
#include "sim/launch.h"

namespace storm::sim {
namespace {

using at::Tensor;
using c10::SymInt;
using c10::SymIntArrayRef;

// The numbers that say which convolution it is; owned, since the kernel runs later.
struct Shape {
  std::vector<int64_t> stride, padding, dilation, output_padding;
  bool transposed;
  int64_t groups;

  Shape(SymIntArrayRef stride, SymIntArrayRef padding, SymIntArrayRef dilation, bool transposed,
        SymIntArrayRef output_padding, const SymInt& groups)
      : stride(C10_AS_INTARRAYREF_SLOW(stride).vec()),
        padding(C10_AS_INTARRAYREF_SLOW(padding).vec()),
        dilation(C10_AS_INTARRAYREF_SLOW(dilation).vec()),
        output_padding(C10_AS_INTARRAYREF_SLOW(output_padding).vec()),
        transposed(transposed),
        groups(groups.expect_int()) {}

  std::vector<int64_t> output_size(const Tensor& input, const Tensor& weight) const {
    return transposed
               ? at::native::_conv_input_size<int64_t>(input.sizes(), weight.sizes(), padding,
                                                       output_padding, stride, dilation, groups)
               : at::native::conv_output_size(input.sizes(), weight.sizes(), padding, stride,
                                              dilation);
  }
};

// Operations of one convolution: each element of the wider side meets one filter.
double products(const Tensor& elements, const Tensor& weight) {
  const int64_t filter = weight.numel() / std::max<int64_t>(weight.size(0), 1);
  return 2.0 * static_cast<double>(elements.numel()) * static_cast<double>(filter);
}

c10::MemoryFormat result_format(const Tensor& input, const Tensor& weight) {
  const auto of_input = input.suggest_memory_format();
  return of_input == c10::MemoryFormat::Contiguous ? weight.suggest_memory_format() : of_input;
}

Tensor convolution(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                   SymIntArrayRef stride, SymIntArrayRef padding, SymIntArrayRef dilation,
                   bool transposed, SymIntArrayRef output_padding, SymInt groups) {
  CurrentDevice guard(input.device().index());
  Shape shape(stride, padding, dilation, transposed, output_padding, groups);
  auto out =
      at::empty(shape.output_size(input, weight), input.options(), result_format(input, weight));
  Effects effects;
  effects.reads(input, "input").reads(weight, "weight").reads(bias, "bias").writes(out, "output");
  const auto work =
      Work::math(Unit::convolution, products(transposed ? input : out, weight), input, effects);
  launch("aten::convolution", effects, work,
         [input = host_view(input), weight = host_view(weight), bias = host_view(bias),
          out = host_view(out), s = std::move(shape)] {
           out.copy_(at::convolution(input, weight, bias, s.stride, s.padding, s.dilation,
                                     s.transposed, s.output_padding, s.groups));
         });
  return out;
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(const Tensor& grad_out, const Tensor& input,
                                                        const Tensor& weight, SymIntArrayRef stride,
                                                        SymIntArrayRef padding,
                                                        SymIntArrayRef dilation, bool transposed,
                                                        SymIntArrayRef output_padding,
                                                        SymInt groups, std::array<bool, 3> wanted) {
  CurrentDevice guard(input.device().index());
  Shape shape(stride, padding, dilation, transposed, output_padding, groups);
  const int64_t channels = transposed ? weight.size(1) * shape.groups : weight.size(0);
  const auto format = result_format(input, weight);
  Tensor grad_input, grad_weight, grad_bias;
  if (wanted[0]) grad_input = at::empty(input.sizes(), input.options(), format);
  if (wanted[1]) grad_weight = at::empty(weight.sizes(), weight.options(), format);
  if (wanted[2]) grad_bias = at::empty({channels}, weight.options());
  Effects effects;
  effects.reads(grad_out, "grad_output").reads(input, "input").reads(weight, "weight");
  effects.writes(grad_input, "grad_input").writes(grad_weight, "grad_weight");
  effects.writes(grad_bias, "grad_bias");
  const double once = products(transposed ? input : grad_out, weight);
  const auto work = Work::math(Unit::convolution, once * (wanted[0] + wanted[1]), input, effects);
  launch("aten::convolution_backward", effects, work,
         [grad_out = host_view(grad_out), input = host_view(input), weight = host_view(weight),
          gi = host_view(grad_input), gw = host_view(grad_weight), gb = host_view(grad_bias),
          s = std::move(shape), channels, wanted] {
           auto [a, b, c] = at::convolution_backward(
               grad_out, input, weight, at::IntArrayRef{channels}, s.stride, s.padding, s.dilation,
               s.transposed, s.output_padding, s.groups, wanted);
           if (gi.defined()) gi.copy_(a);
           if (gw.defined()) gw.copy_(b);
           if (gb.defined()) gb.copy_(c);
         });
  return {grad_input, grad_weight, grad_bias};
}

STORM_SIM_KERNELS(m) {
  m.impl("convolution_overrideable", convolution);
  m.impl("convolution_backward_overrideable", convolution_backward);
}

}  // namespace
}  // namespace storm::sim
