#include "sim/host_args.h"

#include <ATen/ops/clone.h>

#include "sim/generator.h"
#include "sim/host_view.h"

namespace storm::sim {
namespace {

std::optional<DeviceIndex> device_in(const c10::IValue& value) {
  if (value.isTensor()) {
    const auto& tensor = value.toTensor();
    if (on_device(tensor)) return tensor.device().index();
  } else if (value.isTensorList() || value.isOptionalTensorList()) {
    for (const auto& item : value.toListRef()) {
      if (auto found = device_in(item)) return found;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<DeviceIndex> tensor_device(const Values& args, const std::vector<char>& skip) {
  for (size_t i = 0; i < args.size(); ++i) {
    if (i < skip.size() && skip[i]) continue;
    if (auto found = device_in(args[i])) return found;
  }
  return std::nullopt;
}

DeviceIndex device_of(const Values& args) {
  if (auto found = tensor_device(args)) return *found;
  for (const auto& arg : args) {
    if (arg.isDevice() && arg.toDevice().has_index()) return arg.toDevice().index();
  }
  return current_device();
}

void HostArgs::check_placement(const at::Tensor& tensor, size_t position) const {
  const auto where = tensor.device();
  const bool fits = on_device(tensor)
                        ? where.index() == device_
                        : where.is_cpu() && (tensor.dim() == 0 || plan_.takes_host_indices);
  TORCH_CHECK(fits, kDeviceName, ": ", plan_.name, " expects all tensors on ", kDeviceName, ":",
              int{device_}, ", but its argument '", plan_.argument_names[position], "' is on ",
              where);
}

at::Tensor HostArgs::convert(const at::Tensor& tensor, size_t position) {
  if (!tensor.defined()) return tensor;
  for (const auto& [impl, view] : views_) {
    if (impl == tensor.unsafeGetTensorImpl()) return view;
  }
  check_placement(tensor, position);
  auto view = on_device(tensor) ? host_view(tensor) : tensor.detach().clone();
  if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
    view.unsafeGetTensorImpl()->set_wrapped_number(true);
  }
  views_.emplace_back(tensor.unsafeGetTensorImpl(), view);
  return view;
}

c10::IValue HostArgs::convert(const c10::IValue& value, size_t position) {
  if (value.isDevice()) return c10::Device(c10::kCPU);
  if (value.isGenerator()) return kernel_generator(value.toGenerator());
  return map_tensors(value, [&](const at::Tensor& tensor) { return convert(tensor, position); });
}

}  // namespace storm::sim
