#pragma once

#include <ATen/core/Tensor.h>

#include <optional>

namespace storm::sim {

// Which of torch's kinds of attention this device takes: its fused one where that can be. With the
// arguments of scaled_dot_product_attention.
int64_t choose_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const std::optional<at::Tensor>& mask, double dropout_p, bool is_causal,
                         std::optional<double> scale, bool enable_gqa);

}  // namespace storm::sim
