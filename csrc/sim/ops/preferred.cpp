// What torch's spare device is to do with an operation nobody here has a kernel for: run CPU's.
// Also instead of the composite torch would use for a new backend, where that is many kernels and
// not one.
#include <ATen/native/transformers/attention.h>
#include <torch/library.h>

#include "sim/fallback.h"
#include "sim/ops/attention.h"

namespace storm::sim {
namespace {

bool is_foreach(const c10::OperatorName& op) {
  return op.name.starts_with("aten::_foreach_") && !op.overload_name.ends_with("out");
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  for (const auto& op : c10::Dispatcher::singleton().getAllOpNames()) {
    if (!is_foreach(op)) continue;
    std::string name = op.name.substr(sizeof("aten::") - 1);
    if (!op.overload_name.empty()) name += "." + op.overload_name;
    m.impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&run_on_cpu_kernel>());
  }
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu_kernel>());
}

}  // namespace
}  // namespace storm::sim

namespace at::native {
REGISTER_PRIVATEUSE1_DISPATCH(_fused_sdp_choice_stub, &storm::sim::choose_attention)
}  // namespace at::native
