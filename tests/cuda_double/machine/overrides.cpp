#include "overrides.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/native/transformers/attention.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "sim/fallback.h"
#include "sim/op_plan.h"
#include "sim/ops/attention.h"

namespace cuda_double {
namespace {

std::vector<Kernels::Register>& files() {
  static auto* all = new std::vector<Kernels::Register>;
  return *all;
}

// These launch nothing: memory, views, and copies that the runtime makes.
bool keeps_its_own(const std::string& name) {
  static const std::set<std::string> names = {
      "aten::empty",         "aten::empty_strided",       "aten::resize_",   "aten::set_",
      "aten::record_stream", "aten::_local_scalar_dense", "aten::is_pinned", "aten::_pin_memory",
  };
  return names.contains(name);
}

void ignore_warnings_of_overriding(const std::function<void()>& action) {
  struct Nobody final : c10::WarningHandler {
    void process(const c10::Warning&) override {}
  } nobody;
  c10::WarningUtils::WarningHandlerGuard quiet(&nobody);
  action();
}

// One library per namespace and round; they live for ever.
torch::Library& library(const std::string& ns) {
  static auto* all = new std::deque<torch::Library>;
  all->emplace_back(torch::Library::IMPL, ns, c10::DispatchKey::CUDA, __FILE__, __LINE__);
  return all->back();
}

std::string qualified(const c10::OperatorName& op) {
  return op.overload_name.empty() ? op.name : op.name + "." + op.overload_name;
}

std::set<std::string>& done() {
  static auto* names = new std::set<std::string>;
  return *names;
}

void run_cpu_kernels_instead() {
  std::map<std::string, std::vector<std::string>> of_namespace;
  auto& dispatcher = c10::Dispatcher::singleton();
  for (const auto& name : dispatcher.getRegistrationsForDispatchKey(c10::DispatchKey::CUDA)) {
    const auto op = dispatcher.findSchema(name);
    if (!op || keeps_its_own(name.name) || !done().insert(qualified(name)).second) continue;
    if (!storm::sim::plan_of(*op).refusal.empty()) continue;
    of_namespace[name.name.substr(0, name.name.find("::"))].push_back(qualified(name));
  }
  for (const auto& [ns, ops] : of_namespace) {
    auto& lib = library(ns);
    for (const auto& op : ops) {
      lib.impl(op.c_str(),
               torch::CppFunction::makeFromBoxedFunction<&storm::sim::run_on_cpu_kernel>());
    }
  }
}

void put_files_in_place() {
  static bool in_place = false;
  if (std::exchange(in_place, true)) return;
  auto& aten = library("aten");
  for (const auto add : files()) add(aten);
  const auto key = c10::DispatchKey::CUDA;
  for (const auto& name : c10::Dispatcher::singleton().getRegistrationsForDispatchKey(key)) {
    done().insert(qualified(name));
  }
  at::native::_fused_sdp_choice_stub.set_cuda_dispatch_ptr(&storm::sim::choose_attention);
}

}  // namespace

Kernels::Kernels(Register add) {
  files().push_back(add);
}

void override_operations() {
  ignore_warnings_of_overriding([] {
    run_cpu_kernels_instead();
    put_files_in_place();
  });
}

}  // namespace cuda_double
