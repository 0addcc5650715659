// Convolutions of CUDA tensors, by the kernels that torch's spare device has for them.
#include <ATen/ops/convolution_backward_overrideable.h>
#include <ATen/ops/convolution_overrideable.h>
#include <torch/library.h>

#include "overrides.h"

namespace cuda_double {
namespace {

using at::Tensor;
using c10::SymInt;
using c10::SymIntArrayRef;

Tensor convolution(const Tensor& input, const Tensor& weight, const std::optional<Tensor>& bias,
                   SymIntArrayRef stride, SymIntArrayRef padding, SymIntArrayRef dilation,
                   bool transposed, SymIntArrayRef output_padding, SymInt groups) {
  return at::convolution_overrideable_symint(input, weight, bias, stride, padding, dilation,
                                             transposed, output_padding, std::move(groups));
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(
    const Tensor& grad_output, const Tensor& input, const Tensor& weight,
    at::OptionalSymIntArrayRef, SymIntArrayRef stride, SymIntArrayRef padding,
    SymIntArrayRef dilation, bool transposed, SymIntArrayRef output_padding, SymInt groups,
    std::array<bool, 3> wanted) {
  return at::convolution_backward_overrideable_symint(grad_output, input, weight, stride, padding,
                                                      dilation, transposed, output_padding,
                                                      std::move(groups), wanted);
}

const Kernels kernels([](torch::Library& m) {
  m.impl("convolution", convolution);
  m.impl("convolution_backward", convolution_backward);
});

}  // namespace
}  // namespace cuda_double
