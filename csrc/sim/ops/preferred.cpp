// Operations whose CPU kernel is preferred over the composite torch would use for a new backend: a
// foreach is one kernel, not many.
#include <torch/library.h>

#include "sim/fallback.h"

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

}  // namespace
}  // namespace storm::sim
