#include "autograd/linear_route.h"

#include <ATen/ExpandUtils.h>

namespace storm {
namespace {

c10::SymInt product(c10::SymIntArrayRef sizes) {
  c10::SymInt result = 1;
  for (const auto& size : sizes) result *= size;
  return result;
}

bool flattens_without_copy(const at::Tensor& tensor) {
  if (tensor.sym_numel() == 0) return true;
  const auto sizes = tensor.sym_sizes(), strides = tensor.sym_strides();
  for (int64_t i = 0; i + 2 < tensor.dim(); ++i) {
    if (strides[i] != strides[i + 1] * sizes[i + 1]) return false;
  }
  return true;
}

bool column_major(const at::Tensor& matrix) {
  return matrix.sym_stride(0) == 1 && matrix.sym_stride(1) == matrix.sym_size(0);
}

}  // namespace

at::Tensor as_matrix(const at::Tensor& tensor) {
  if (tensor.dim() == 2) return tensor;
  const auto sizes = tensor.sym_sizes();
  return tensor.reshape_symint({product(sizes.slice(0, sizes.size() - 1)), sizes.back()});
}

LinearRoute::LinearRoute(const at::Tensor& input, const at::Tensor& weight, bool has_bias)
    : has_bias_(has_bias) {
  const bool contiguous = input.is_contiguous_or_false();
  const bool flattens = input.dim() < 3 || contiguous || flattens_without_copy(input);
  if (has_bias && (input.dim() == 2 || contiguous)) {
    product_ = Product::fused;
  } else if (flattens || weight.requires_grad()) {
    product_ = Product::folded;
  } else {
    product_ = Product::batched;
  }
  needs_folding_ = !flattens && product_ == Product::folded;
  input_column_major_ = flattens && column_major(as_matrix(input));  // a copy would be row-major
  weight_row_major_ = weight.sym_stride(1) == 1 && weight.sym_stride(0) == weight.sym_size(1);
}

at::Tensor LinearRoute::grad_input(const at::Tensor& grad, const at::Tensor& weight) const {
  c10::SymDimVector sizes(grad.sym_sizes());
  sizes.back() = weight.sym_size(1);
  if (product_ == Product::batched) {
    const auto leading = grad.sym_sizes().slice(0, grad.dim() - 2);
    const c10::SymInt batch = product(leading), rows = grad.sym_size(-2);
    const auto weights =
        weight.unsqueeze(0).expand_symint({batch, weight.sym_size(0), weight.sym_size(1)});
    const auto grads = grad.reshape_symint({batch, rows, grad.sym_size(-1)});
    return grads.bmm(weights.conj()).reshape_symint(sizes);
  }
  const auto rows = as_matrix(grad);
  const auto result =
      input_column_major_ ? weight.t().conj().mm(rows.t()).t() : rows.mm(weight.conj());
  return result.reshape_symint(sizes);
}

at::Tensor LinearRoute::grad_weight(const at::Tensor& grad, const at::Tensor& input) const {
  const auto rows = as_matrix(grad), inputs = as_matrix(input);
  return weight_row_major_ ? rows.t().mm(inputs.conj()) : inputs.t().conj().mm(rows).t();
}

at::Tensor LinearRoute::grad_bias(const at::Tensor& grad) const {
  return at::sum_to(product_ == Product::fused ? as_matrix(grad) : grad, {grad.sym_size(-1)});
}

int64_t LinearRoute::packed() const {
  return static_cast<int64_t>(product_) | has_bias_ << 2 | input_column_major_ << 3 |
         weight_row_major_ << 4;
}

LinearRoute LinearRoute::unpack(int64_t packed) {
  LinearRoute route;
  route.product_ = static_cast<Product>(packed & 3);
  route.has_bias_ = packed >> 2 & 1;
  route.input_column_major_ = packed >> 3 & 1;
  route.weight_row_major_ = packed >> 4 & 1;
  return route;
}

}  // namespace storm
