#include "sim/rehearsal.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "sim/host_view.h"

namespace storm::sim {
namespace {

at::Tensor zeros_like_on_host(const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  at::Tensor zeros =
      at::detail::empty_strided_cpu(tensor.sizes(), tensor.strides(), tensor.scalar_type());
  zeros.zero_();
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
    zeros.unsafeGetTensorImpl()->set_wrapped_number(true);
  }
  return zeros;
}

c10::IValue stand_in(const c10::IValue& value) {
  if (value.isDevice()) return c10::Device(c10::kCPU);
  if (value.isGenerator()) return at::detail::createCPUGenerator();
  return map_tensors(value, zeros_like_on_host);
}

}  // namespace

void call_on_this_thread(const c10::OperatorHandle& op, Values& host) {
  at::AutoDispatchBelowADInplaceOrView no_autograd;
  c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  op.callBoxed(&host);
}

namespace {

at::Tensor meta_like(const at::Tensor& tensor) {
  if (!on_device(tensor)) return tensor;
  auto meta =
      at::detail::empty_strided_meta(tensor.sizes(), tensor.strides(), tensor.scalar_type());
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
    meta.unsafeGetTensorImpl()->set_wrapped_number(true);
  }
  return meta;
}

}  // namespace

Values call_without_values(const c10::OperatorHandle& op, const Values& args) {
  Values results;
  for (const auto& arg : args) {
    results.push_back(arg.isDevice() ? c10::Device(c10::kMeta) : map_tensors(arg, meta_like));
  }
  call_on_this_thread(op, results);
  return results;
}

std::optional<Geometries> deduce(const c10::OperatorHandle& op, const OpPlan& plan,
                                 const Values& args) {
  Values results;
  try {
    results = call_without_values(op, args);
  } catch (const c10::NotImplementedError&) {
    return std::nullopt;
  }
  Geometries geometries;
  for (size_t r = 0; r < plan.alias_of.size(); ++r) {
    if (plan.alias_of[r] < 0) geometries.push_back(ResultGeometry::of(results[r]));
  }
  return geometries;
}

std::optional<Geometries> rehearse(const c10::OperatorHandle& op, const OpPlan& plan,
                                   const Values& args) {
  Values results;
  try {
    for (size_t i = 0; i < args.size(); ++i) {
      const bool draws = plan.seeded && static_cast<int>(i) == plan.generator;
      results.push_back(draws ? c10::IValue(at::detail::createCPUGenerator()) : stand_in(args[i]));
    }
    call_on_this_thread(op, results);
  } catch (const c10::Error&) {
    return std::nullopt;  // the real call reports what is wrong, if anything is
  }
  Geometries geometries;
  for (size_t r = 0; r < plan.alias_of.size(); ++r) {
    if (plan.alias_of[r] < 0) geometries.push_back(ResultGeometry::of(results[r]));
  }
  return geometries;
}

}  // namespace storm::sim
