// The fused cells of LSTM and GRU, which torch asks of every backend but CPU.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include "sim/device_type.h"
#include "sim/host_view.h"
#include "sim/launch.h"

namespace storm::sim {
namespace {

using at::Tensor;
using OptionalTensor = std::optional<Tensor>;

Tensor plus(const Tensor& gates, const OptionalTensor& bias) {
  return bias ? gates + *bias : gates;
}

// Of y = sigmoid(x), dy/dx = y (1 - y); of y = tanh(x), 1 - y^2.
Tensor through_sigmoid(const Tensor& grad, const Tensor& y) {
  return grad * y * (1 - y);
}
Tensor through_tanh(const Tensor& grad, const Tensor& y) {
  return grad * (1 - y * y);
}

std::tuple<Tensor, Tensor, Tensor> lstm_cell(const Tensor& input_gates, const Tensor& hidden_gates,
                                             const Tensor& cx, const OptionalTensor& input_bias,
                                             const OptionalTensor& hidden_bias) {
  CurrentDevice guard(cx.device().index());
  auto hy = at::empty_like(cx), cy = at::empty_like(cx), workspace = at::empty_like(input_gates);
  Effects effects;
  effects.reads(input_gates)
      .reads(hidden_gates)
      .reads(cx, "cx")
      .reads(input_bias)
      .reads(hidden_bias);
  effects.writes(hy, "hy").writes(cy, "cy").writes(workspace, "workspace");
  launch("aten::_thnn_fused_lstm_cell", effects,
         [ig = host_view(input_gates), hg = host_view(hidden_gates), cx = host_view(cx),
          ib = host_view(input_bias), hb = host_view(hidden_bias), hy = host_view(hy),
          cy = host_view(cy), workspace = host_view(workspace)] {
           const auto gates = (plus(ig, ib) + plus(hg, hb)).chunk(4, 1);
           const auto i = at::sigmoid(gates[0]), f = at::sigmoid(gates[1]);
           const auto g = at::tanh(gates[2]), o = at::sigmoid(gates[3]);
           cy.copy_(f * cx + i * g);
           hy.copy_(o * at::tanh(cy));
           workspace.copy_(at::cat({i, f, g, o}, 1));
         });
  return {hy, cy, workspace};
}

std::tuple<Tensor, Tensor, Tensor> lstm_cell_backward(const OptionalTensor& grad_hy,
                                                      const OptionalTensor& grad_cy,
                                                      const Tensor& cx, const Tensor& cy,
                                                      const Tensor& workspace, bool has_bias) {
  if (!(grad_hy && grad_hy->defined()) && !(grad_cy && grad_cy->defined())) return {};
  CurrentDevice guard(cx.device().index());
  auto grad_gates = at::empty_like(workspace), grad_cx = at::empty_like(cx);
  Tensor grad_bias;
  if (has_bias) grad_bias = at::empty({workspace.size(1)}, workspace.options());
  Effects effects;
  effects.reads(grad_hy, "grad_hy").reads(grad_cy, "grad_cy").reads(cx, "cx").reads(cy, "cy");
  effects.reads(workspace, "workspace").writes(grad_gates).writes(grad_cx).writes(grad_bias);
  launch("aten::_thnn_fused_lstm_cell_backward_impl", effects,
         [ghy = host_view(grad_hy), gcy = host_view(grad_cy), cx = host_view(cx),
          cy = host_view(cy), workspace = host_view(workspace), gg = host_view(grad_gates),
          gcx = host_view(grad_cx), gb = host_view(grad_bias)] {
           const auto w = workspace.chunk(4, 1);
           const auto &i = w[0], &f = w[1], &g = w[2], &o = w[3];
           const auto tanh_cy = at::tanh(cy);
           auto d_cy = gcy ? *gcy : at::zeros_like(cy);
           auto d_o = at::zeros_like(cy);
           if (ghy) {
             d_cy = d_cy + through_tanh(*ghy * o, tanh_cy);
             d_o = *ghy * tanh_cy;
           }
           gg.copy_(at::cat({through_sigmoid(d_cy * g, i), through_sigmoid(d_cy * cx, f),
                             through_tanh(d_cy * i, g), through_sigmoid(d_o, o)},
                            1));
           gcx.copy_(d_cy * f);
           if (gb.defined()) gb.copy_(gg.sum(0));
         });
  return {grad_gates, grad_cx, grad_bias};
}

std::tuple<Tensor, Tensor> gru_cell(const Tensor& input_gates, const Tensor& hidden_gates,
                                    const Tensor& hx, const OptionalTensor& input_bias,
                                    const OptionalTensor& hidden_bias) {
  CurrentDevice guard(hx.device().index());
  auto hy = at::empty_like(hx);
  auto workspace = at::empty({hx.size(0), hx.size(1) * 5}, hx.options());
  Effects effects;
  effects.reads(input_gates)
      .reads(hidden_gates)
      .reads(hx, "hx")
      .reads(input_bias)
      .reads(hidden_bias);
  effects.writes(hy, "hy").writes(workspace, "workspace");
  launch("aten::_thnn_fused_gru_cell", effects,
         [ig = host_view(input_gates), hg = host_view(hidden_gates), hx = host_view(hx),
          ib = host_view(input_bias), hb = host_view(hidden_bias), hy = host_view(hy),
          workspace = host_view(workspace)] {
           const auto in = plus(ig, ib).chunk(3, 1), hid = plus(hg, hb).chunk(3, 1);
           const auto r = at::sigmoid(in[0] + hid[0]), z = at::sigmoid(in[1] + hid[1]);
           const auto n = at::tanh(in[2] + r * hid[2]);
           hy.copy_(n + z * (hx - n));
           workspace.copy_(at::cat({r, z, n, hx, hid[2]}, 1));
         });
  return {hy, workspace};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> gru_cell_backward(const Tensor& grad_hy,
                                                                     const Tensor& workspace,
                                                                     bool has_bias) {
  CurrentDevice guard(workspace.device().index());
  const int64_t rows = workspace.size(0), gates = workspace.size(1) / 5 * 3;
  auto grad_in = at::empty({rows, gates}, workspace.options()), grad_hid = at::empty_like(grad_in);
  auto grad_hx = at::empty({rows, gates / 3}, workspace.options());
  Tensor bias_in, bias_hid;
  if (has_bias) {
    bias_in = at::empty({gates}, workspace.options());
    bias_hid = at::empty({gates}, workspace.options());
  }
  Effects effects;
  effects.reads(grad_hy, "grad_hy").reads(workspace, "workspace").writes(grad_in).writes(grad_hid);
  effects.writes(grad_hx).writes(bias_in).writes(bias_hid);
  launch("aten::_thnn_fused_gru_cell_backward", effects,
         [grad = host_view(grad_hy), workspace = host_view(workspace), gi = host_view(grad_in),
          gh = host_view(grad_hid), ghx = host_view(grad_hx), bi = host_view(bias_in),
          bh = host_view(bias_hid)] {
           const auto w = workspace.chunk(5, 1);
           const auto &r = w[0], &z = w[1], &n = w[2], &hx = w[3], &hn = w[4];
           const auto d_n = through_tanh(grad * (1 - z), n);
           const auto d_z = through_sigmoid(grad * (hx - n), z);
           const auto d_r = through_sigmoid(d_n * hn, r);
           gi.copy_(at::cat({d_r, d_z, d_n}, 1));
           gh.copy_(at::cat({d_r, d_z, d_n * r}, 1));
           ghx.copy_(grad * z);
           if (bi.defined()) bi.copy_(gi.sum(0));
           if (bh.defined()) bh.copy_(gh.sum(0));
         });
  return {grad_in, grad_hid, grad_hx, bias_in, bias_hid};
}

STORM_SIM_KERNELS(m) {
  m.impl("_thnn_fused_lstm_cell", lstm_cell);
  m.impl("_thnn_fused_lstm_cell_backward_impl", lstm_cell_backward);
  m.impl("_thnn_fused_gru_cell", gru_cell);
  m.impl("_thnn_fused_gru_cell_backward", gru_cell_backward);
}

}  // namespace
}  // namespace storm::sim
