// Arguments of an operation, as a CPU kernel on a stream's thread takes them.
#pragma once

#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include "sim/device.h"
#include "sim/op_plan.h"

namespace storm::sim {

using Values = std::vector<c10::IValue>;

// The device the call is for: of its first device tensor, else of its device argument.
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
