// Operations whose CPU kernel is preferred over the composite torch would use for a new backend:
// norms keep CPU's numbers and save what a GPU saves; an in-place foreach is one kernel, not many.
#include <torch/library.h>

#include "sim/fallback.h"

namespace storm::sim {
namespace {

constexpr const char* kNorms[] = {"native_layer_norm", "native_group_norm"};

bool is_inplace_foreach(const std::string& name) {
  return name.rfind("aten::_foreach_", 0) == 0 && name.back() == '_';
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  for (const char* name : kNorms) {
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&run_on_cpu_kernel>());
  }
  for (const auto& op : c10::Dispatcher::singleton().getAllOpNames()) {
    if (!is_inplace_foreach(op.name)) continue;
    std::string name = op.name.substr(sizeof("aten::") - 1);
    if (!op.overload_name.empty()) name += "." + op.overload_name;
    m.impl(name.c_str(), torch::CppFunction::makeFromBoxedFunction<&run_on_cpu_kernel>());
  }
}

}  // namespace
}  // namespace storm::sim
