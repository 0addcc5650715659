// Arguments of an operation, as a CPU kernel on a stream's thread takes them.
#pragma once

#include <ATen/core/List.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <optional>
#include <utility>
#include <vector>

#include "sim/device.h"
#include "sim/op_plan.h"

namespace storm::sim {

using Values = std::vector<c10::IValue>;

// Copies `value` with `change` applied to each tensor in it, defined or not.
template <class Change>
c10::IValue map_tensors(const c10::IValue& value, Change change) {
  if (value.isTensor()) return change(value.toTensor());
  if (value.isTensorList()) {
    c10::List<at::Tensor> out;
    for (const auto& item : value.toListRef()) out.push_back(change(item.toTensor()));
    return out;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> out;
    for (const auto& item : value.toListRef()) {
      out.push_back(item.isNone() ? std::nullopt : std::optional(change(item.toTensor())));
    }
    return out;
  }
  return value;
}

// The device of the first device tensor among `args`, if any, leaving out those marked in `skip`.
std::optional<DeviceIndex> tensor_device(const Values& args, const std::vector<char>& skip = {});

// The device the call is for: of its tensors, else of its device argument, else the current one.
DeviceIndex device_of(const Values& args);

// Turns arguments into host arguments: device tensors into views, CPU scalars into copies, devices
// into CPU, generators into ones of their own. Raises if a tensor lives on another device.
class HostArgs {
 public:
  HostArgs(const OpPlan& plan, DeviceIndex device) : plan_(plan), device_(device) {}

  c10::IValue convert(const c10::IValue& value, size_t position);

 private:
  at::Tensor convert(const at::Tensor& tensor, size_t position);
  void check_placement(const at::Tensor& tensor, size_t position) const;

  const OpPlan& plan_;
  DeviceIndex device_;
  // A tensor passed twice stays one tensor: kernels compare identities.
  std::vector<std::pair<const c10::TensorImpl*, at::Tensor>> views_;
};

}  // namespace storm::sim
