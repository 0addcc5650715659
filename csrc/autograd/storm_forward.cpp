#include "autograd/storm_forward.h"

#include <ATen/autocast_mode.h>
#include <ATen/ops/linear.h>
#include <torch/library.h>

#include "autograd/default_context.h"
#include "autograd/hook_dispatch.h"
#include "autograd/linear_route.h"

namespace storm {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

std::string describe(const char* name, const at::Tensor& tensor) {
  return c10::str(name, " ", tensor.sym_sizes(), " ", tensor.scalar_type(), " on ",
                  tensor.device());
}

std::string describe(const at::Tensor& input, const at::Tensor& weight,
                     const OptionalTensor& bias) {
  return c10::str("; got ", describe("input", input), ", ", describe("weight", weight), ", ",
                  bias ? describe("bias", *bias) : "no bias");
}

void check_arguments(const at::Tensor& input, const at::Tensor& weight,
                     const OptionalTensor& bias) {
  const auto got = [&] { return describe(input, weight, bias); };
  TORCH_CHECK(weight.dim() == 2,
              "storm_forward needs a weight of shape (out_features, in_features)", got());
  TORCH_CHECK(input.dim() > 0, "storm_forward needs an input of shape (..., in_features)", got());
  TORCH_SYM_CHECK(input.sym_size(-1).sym_eq(weight.sym_size(1)),
                  "storm_forward: the input's last dimension is not the weight's in_features",
                  got());
  TORCH_CHECK(at::isFloatingType(weight.scalar_type()) || at::isComplexType(weight.scalar_type()),
              "storm_forward computes in floating-point or complex dtypes", got());
  TORCH_CHECK(input.scalar_type() == weight.scalar_type(), "storm_forward needs one dtype", got());
  TORCH_CHECK(input.device() == weight.device(), "storm_forward needs all tensors on one device",
              got());
  if (!bias) return;
  TORCH_CHECK(bias->dim() == 1, "storm_forward needs a bias of shape (out_features)", got());
  TORCH_SYM_CHECK(bias->sym_size(0).sym_eq(weight.sym_size(0)),
                  "storm_forward: the bias is not as long as the weight's out_features", got());
  TORCH_CHECK(bias->scalar_type() == weight.scalar_type(), "storm_forward needs one dtype", got());
  TORCH_CHECK(bias->device() == weight.device(), "storm_forward needs all tensors on one device",
              got());
}

at::Tensor compute(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                   int64_t) {
  check_arguments(input, weight, bias);
  return at::linear(input, weight, bias);
}

// torch.func's transforms, forward-mode derivatives and layouts that are not strided differentiate
// torch's own operations only. There the layer is nn.Linear, and nothing is offloaded.
bool only_torch_can(const at::Tensor& tensor) {
  return tensor.layout() != at::kStrided || tensor.is_nested() ||
         tensor._fw_grad(/*level=*/0).defined();
}

bool only_torch_can(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias) {
  const auto included = c10::impl::tls_local_dispatch_key_set().included_;
  return included.has(c10::DispatchKey::FuncTorchDynamicLayerFrontMode) || only_torch_can(input) ||
         only_torch_can(weight) || (bias && only_torch_can(*bias));
}

at::Tensor as_linear(const at::Tensor& input, const at::Tensor& weight, const OptionalTensor& bias,
                     int64_t) {
  return at::linear(input, weight, bias);
}

at::Tensor with_autograd(const at::Tensor& input, const at::Tensor& weight,
                         const OptionalTensor& bias, int64_t layer_id) {
  if (only_torch_can(input, weight, bias)) return as_linear(input, weight, bias, layer_id);
  check_arguments(input, weight, bias);
  const bool differentiates =
      c10::GradMode::is_enabled() &&
      (input.requires_grad() || weight.requires_grad() || (bias && bias->requires_grad()));
  if (!differentiates) {
    at::AutoDispatchBelowADInplaceOrView below;
    return storm_forward(input, weight, bias, layer_id);
  }
  OffloadScope scope(default_context_for(input));
  return StormForwardFunction::apply(input, weight, bias, layer_id);
}

template <c10::DeviceType device>
at::Tensor with_autocast(const at::Tensor& input, const at::Tensor& weight,
                         const OptionalTensor& bias, int64_t layer_id) {
  const c10::impl::ExcludeDispatchKeyGuard once(
      at::autocast::get_autocast_dispatch_key_from_device_type(device));
  const auto cast = [dtype = at::autocast::get_autocast_dtype(device)](const auto& tensor) {
    return at::autocast::cached_cast(dtype, tensor, device);
  };
  return storm_forward(cast(input), cast(weight), cast(bias), layer_id);
}

}  // namespace

at::Tensor storm_forward(const at::Tensor& input, const at::Tensor& weight,
                         const OptionalTensor& bias, int64_t layer_id) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("pamiq_storm::storm_forward", "")
                             .typed<at::Tensor(const at::Tensor&, const at::Tensor&,
                                               const OptionalTensor&, int64_t)>();
  return op.call(input, weight, bias, layer_id);
}

at::Tensor StormForwardFunction::forward(torch::autograd::AutogradContext* ctx,
                                         const at::Tensor& input, const at::Tensor& weight,
                                         const OptionalTensor& bias, int64_t layer_id) {
  const LinearRoute route(input, weight, bias.has_value());
  ctx->set_materialize_grads(false);
  ctx->saved_data["route"] = route.packed();
  ctx->save_for_backward({weight.requires_grad() ? input : at::Tensor(),
                          input.requires_grad() ? weight : at::Tensor()});

  at::AutoDispatchBelowADInplaceOrView below;
  if (!route.needs_folding()) return storm_forward(input, weight, bias, layer_id);
  c10::SymDimVector sizes(input.sym_sizes());
  sizes.back() = weight.sym_size(0);
  auto output = storm_forward(as_matrix(input), weight, std::nullopt, layer_id).view_symint(sizes);
  return bias ? output.add_(*bias) : output;
}

torch::autograd::variable_list StormForwardFunction::backward(
    torch::autograd::AutogradContext* ctx, const torch::autograd::variable_list& grads) {
  torch::autograd::variable_list results(4);
  const at::Tensor& grad = grads[0];
  if (!grad.defined()) return results;
  const auto saved = ctx->get_saved_variables();
  const auto route = LinearRoute::unpack(ctx->saved_data["route"].toInt());
  if (ctx->needs_input_grad(0)) results[0] = route.grad_input(grad, saved[1]);
  if (ctx->needs_input_grad(1)) results[1] = route.grad_weight(grad, saved[0]);
  if (route.has_bias() && ctx->needs_input_grad(2)) results[2] = route.grad_bias(grad);
  return results;
}

}  // namespace storm

TORCH_LIBRARY(pamiq_storm, m) {
  m.def("storm_forward(Tensor input, Tensor weight, Tensor? bias=None, int layer_id=-1) -> Tensor",
        {at::Tag::pt2_compliant_tag});
}

TORCH_LIBRARY_IMPL(pamiq_storm, CompositeExplicitAutograd, m) {
  m.impl("storm_forward", &storm::compute);
}

TORCH_LIBRARY_IMPL(pamiq_storm, Autograd, m) {
  m.impl("storm_forward", &storm::with_autograd);
}

TORCH_LIBRARY_IMPL(pamiq_storm, FuncTorchBatched, m) {
  m.impl("storm_forward", &storm::as_linear);
}

TORCH_LIBRARY_FRAGMENT(pamiq_storm, m) {
  using c10::DispatchKey;
  m.impl("storm_forward",
         torch::dispatch(DispatchKey::AutocastCPU, &storm::with_autocast<at::kCPU>));
  m.impl("storm_forward",
         torch::dispatch(DispatchKey::AutocastCUDA, &storm::with_autocast<at::kCUDA>));
  m.impl("storm_forward",
         torch::dispatch(DispatchKey::AutocastXPU, &storm::with_autocast<at::kXPU>));
  m.impl("storm_forward",
         torch::dispatch(DispatchKey::AutocastMPS, &storm::with_autocast<at::kMPS>));
  m.impl("storm_forward", torch::dispatch(DispatchKey::AutocastPrivateUse1,
                                          &storm::with_autocast<at::kPrivateUse1>));
}
