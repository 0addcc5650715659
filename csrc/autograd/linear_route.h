#pragma once
#include <ATen/core/Tensor.h>

namespace storm {

// Note [The road at::linear takes]
// at::linear is one of three products, chosen from the layout of its input, and autograd transposes
// the operands of the gradients' products by layout too. Products that are equal on paper differ in
// the last bit. A layer that promises the gradients of nn.Linear therefore finds out which road
// torch takes and takes the same one. `tests/nn/test_linear_bitwise.py` compares the two over
// layouts, so that a torch that chooses otherwise is noticed.
class LinearRoute {
 public:
  // Shapes must fit; the weight's requires_grad counts, because torch copies rather than batches
  // when it is set.
  LinearRoute(const at::Tensor& input, const at::Tensor& weight, bool has_bias);

  bool has_bias() const { return has_bias_; }
  // Whether at::linear, given the tensors without their requires_grad, would batch where this route
  // folds.
  bool needs_folding() const { return needs_folding_; }

  // Gradients, in differentiable operations. `grad` is of the output's shape.
  at::Tensor grad_input(const at::Tensor& grad, const at::Tensor& weight) const;
  at::Tensor grad_weight(const at::Tensor& grad, const at::Tensor& input) const;
  at::Tensor grad_bias(const at::Tensor& grad) const;

  // What backward needs of it, as one number.
  int64_t packed() const;
  static LinearRoute unpack(int64_t packed);

 private:
  enum class Product : uint8_t {
    fused,    // addmm over all leading dimensions flattened into one
    folded,   // mm over them, then the bias
    batched,  // bmm, then the bias
  };
  LinearRoute() = default;

  Product product_ = Product::folded;
  bool has_bias_ = false;
  bool needs_folding_ = false;
  bool input_column_major_ = false;  // of the flattened input
  bool weight_row_major_ = true;
};

// All leading dimensions flattened into one; a view where the strides allow it.
at::Tensor as_matrix(const at::Tensor& tensor);

}  // namespace storm
