// Fused attention: like CUDA's flash kernels it keeps query, key, value, output and log-sum-exp,
// never the matrix of weights. CPU's flash kernels do the work.
#include "sim/ops/attention.h"

#include <ATen/OpMathType.h>
#include <ATen/native/transformers/sdp_utils_cpp.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu_backward.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "sim/device_type.h"
#include "sim/host_view.h"
#include "sim/launch.h"

namespace storm::sim {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

bool fusible(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& mask,
             double dropout_p) {
  if (dropout_p > 0 || q.dim() != 4 || k.dim() != 4 || v.dim() != 4) return false;
  if (!at::isFloatingType(q.scalar_type()) || q.scalar_type() != k.scalar_type() ||
      q.scalar_type() != v.scalar_type()) {
    return false;
  }
  for (const auto* t : {&q, &k, &v}) {
    if (t->numel() == 0 || t->stride(3) != 1 || t->size(3) != q.size(3)) return false;
    if (t->size(0) != q.size(0) || t->size(1) == 0 || q.size(1) % t->size(1) != 0) return false;
  }
  if (!mask || !mask->defined()) return true;
  return !mask->requires_grad() && (mask->dim() == 2 || mask->dim() == 4);
}

// Two products of every query with every key, half of them if none looks ahead.
double forward_flops(const Tensor& q, const Tensor& k, bool is_causal) {
  return 4.0 * static_cast<double>(q.numel()) * static_cast<double>(k.size(2)) *
         (is_causal ? 0.5 : 1.0);
}

constexpr double kBackwardFlops = 2.5;  // times the forward's: five products instead of two

// Grouped queries: several heads of the query share one of key and value.
Tensor for_each_query(const Tensor& shared, const Tensor& q) {
  const int64_t group = q.size(1) / shared.size(1);
  return group == 1 ? shared : shared.repeat_interleave(group, 1);
}
Tensor summed_over_queries(const Tensor& grad, const Tensor& shared) {
  if (grad.size(1) == shared.size(1)) return grad;
  return grad.unflatten(1, {shared.size(1), -1}).sum(2);
}

// Heads inside rows, as the fused kernels lay out what they return: (B, H, S, D) over (B, S, H, D).
Tensor empty_heads_inside(const Tensor& like, int64_t width) {
  return at::empty({like.size(0), like.size(2), like.size(1), width}, like.options())
      .transpose(1, 2);
}

using Forward =
    std::tuple<Tensor, Tensor, Tensor, Tensor, c10::SymInt, c10::SymInt, Tensor, Tensor, Tensor>;

Forward attention(const Tensor& q, const Tensor& k, const Tensor& v, const OptionalTensor& mask,
                  double dropout_p, bool is_causal, bool, std::optional<double> scale) {
  TORCH_CHECK_NOT_IMPLEMENTED(dropout_p == 0, "sim: fused attention has no dropout");
  CurrentDevice guard(q.device().index());
  auto out = empty_heads_inside(q, v.size(3));
  auto lse = at::empty({q.size(0), q.size(2), q.size(1)},
                       q.options().dtype(at::toOpMathType(q.scalar_type())))
                 .transpose(1, 2);
  Effects effects;
  effects.reads(q, "query").reads(k, "key").reads(v, "value").reads(mask, "attn_bias");
  effects.writes(out, "output").writes(lse, "logsumexp");
  launch("aten::_scaled_dot_product_fused_attention_overrideable", effects,
         Work::math(Unit::attention, forward_flops(q, k, is_causal), q, effects),
         [q = host_view(q), k = host_view(k), v = host_view(v), mask = host_view(mask),
          out = host_view(out), lse = host_view(lse), is_causal, scale] {
           auto [o, l] = at::_scaled_dot_product_flash_attention_for_cpu(
               q, for_each_query(k, q), for_each_query(v, q), 0.0, is_causal, mask, scale);
           out.copy_(o);
           lse.copy_(l);
         });
  const auto unused = at::empty({0}, at::TensorOptions().dtype(at::kLong));
  return {out,    lse,    Tensor(), Tensor(), c10::SymInt(q.size(2)), c10::SymInt(k.size(2)),
          unused, unused, Tensor()};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> attention_backward(
    const Tensor& grad_out, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
    std::array<bool, 4> wanted, const Tensor& out, const Tensor& lse, const Tensor&, const Tensor&,
    c10::SymInt, c10::SymInt, double, bool is_causal, const Tensor&, const Tensor&,
    std::optional<double> scale) {
  TORCH_CHECK_NOT_IMPLEMENTED(!wanted[3], "sim: fused attention has no gradient for its mask");
  CurrentDevice guard(q.device().index());
  auto grad_q = empty_heads_inside(q, q.size(3));
  auto grad_k = empty_heads_inside(k, k.size(3));
  auto grad_v = empty_heads_inside(v, v.size(3));
  Effects effects;
  effects.reads(grad_out, "grad_out").reads(q, "query").reads(k, "key").reads(v, "value");
  effects.reads(mask, "attn_bias").reads(out, "out").reads(lse, "logsumexp");
  effects.writes(grad_q, "grad_query").writes(grad_k, "grad_key").writes(grad_v, "grad_value");
  launch(
      "aten::_scaled_dot_product_fused_attention_overrideable_backward", effects,
      Work::math(Unit::attention_backward, kBackwardFlops * forward_flops(q, k, is_causal), q,
                 effects),
      [grad_out = host_view(grad_out), q = host_view(q), k = host_view(k), v = host_view(v),
       mask = host_view(OptionalTensor(mask)), out = host_view(out), lse = host_view(lse),
       gq = host_view(grad_q), gk = host_view(grad_k), gv = host_view(grad_v), is_causal, scale] {
        auto [a, b, c] = at::_scaled_dot_product_flash_attention_for_cpu_backward(
            grad_out, q, for_each_query(k, q), for_each_query(v, q), out, lse, 0.0, is_causal, mask,
            scale);
        gq.copy_(a);
        gk.copy_(summed_over_queries(b, k));
        gv.copy_(summed_over_queries(c, v));
      });
  return {grad_q, grad_k, grad_v, Tensor()};
}

STORM_SIM_KERNELS(m) {
  m.impl("_scaled_dot_product_fused_attention_overrideable", attention);
  m.impl("_scaled_dot_product_fused_attention_overrideable_backward", attention_backward);
}

}  // namespace

int64_t choose_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                         const OptionalTensor& mask, double dropout_p, bool, std::optional<double>,
                         bool) {
  const auto backend =
      fusible(q, k, v, mask, dropout_p) ? sdp::SDPBackend::overrideable : sdp::SDPBackend::math;
  return static_cast<int64_t>(backend);
}

}  // namespace storm::sim
