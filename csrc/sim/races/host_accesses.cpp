#include "sim/races/host_accesses.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/record_function.h>

#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sim/host_view.h"
#include "sim/lifecycle.h"
#include "sim/pinned_ranges.h"
#include "sim/races/detector.h"

namespace storm::sim {
namespace {

// Which of an operation's arguments its CPU kernel touches.
struct HostPlan {
  bool touches = false;
  const char* name = "";  // of the schema, which lives for ever
  std::vector<char> writes;
  std::vector<const char*> names;
};

// They change what a tensor is, not what is in it.
bool concerns_the_shape_only(const c10::FunctionSchema& schema) {
  const std::string_view name = schema.name();
  if (name == "aten::set_" || name == "aten::resize_") return true;
  for (const auto& result : schema.returns()) {  // a view
    if (result.alias_info() != nullptr && !result.alias_info()->isWrite()) return true;
  }
  return false;
}

// Composite operations reach memory through others. copy_ is one by registration only.
bool reaches_memory(const c10::OperatorHandle& op) {
  const auto& schema = op.schema();
  if (concerns_the_shape_only(schema)) return false;
  return op.hasKernelForDispatchKey(c10::DispatchKey::CPU) || schema.name() == "aten::copy_";
}

HostPlan make_plan(const c10::OperatorName& name) {
  HostPlan plan;
  const auto op = c10::Dispatcher::singleton().findSchema(name);
  if (!op || !reaches_memory(*op)) return plan;
  plan.touches = true;
  plan.name = op->schema().name().c_str();
  for (const auto& argument : op->schema().arguments()) {
    plan.writes.push_back(argument.alias_info() != nullptr && argument.alias_info()->isWrite());
    plan.names.push_back(argument.name().c_str());
  }
  return plan;
}

const HostPlan& plan_of(const c10::OperatorName& name) {
  static auto* mutex = new std::mutex;  // guards plans
  static auto* plans = new std::unordered_map<c10::OperatorName, std::unique_ptr<HostPlan>>;
  std::lock_guard lock(*mutex);
  auto& plan = (*plans)[name];
  if (!plan) plan = std::make_unique<HostPlan>(make_plan(name));
  return *plan;
}

template <class Visit>
void each_tensor(c10::ArrayRef<const c10::IValue> inputs, Visit visit) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].isTensor()) {
      visit(inputs[i].toTensor(), i);
    } else if (inputs[i].isTensorList()) {
      for (const auto& item : inputs[i].toListRef()) visit(item.toTensor(), i);
    }
  }
}

// Asked of the storage without its checks: one that refuses access (a version that is gone) is the
// operation's own business.
bool is_pinned(const at::Tensor& tensor) {
  if (!tensor.is_cpu() || tensor.layout() != at::kStrided || !tensor.has_storage()) return false;
  return pinned_ranges().contains(
      tensor.storage().unsafeGetStorageImpl()->_mutable_data_ptr_no_checks().get());
}

// Operations that involve the device are its own: they are told of where they are issued.
bool touches_pinned_memory_alone(c10::ArrayRef<const c10::IValue> inputs) {
  bool pinned = false;
  bool device = false;
  each_tensor(inputs, [&](const at::Tensor& tensor, size_t) {
    if (!tensor.defined()) return;
    device = device || on_device(tensor);
    pinned = pinned || (!device && is_pinned(tensor));
  });
  return pinned && !device;
}

std::unique_ptr<at::ObserverContext> look(const at::RecordFunction& call) {
  if (!detector().on() || call.inputs().empty() || phase() != Phase::running) return nullptr;
  if (!touches_pinned_memory_alone(call.inputs())) return nullptr;
  const auto name = call.operator_name();
  if (!name) return nullptr;
  const HostPlan& plan = plan_of(*name);
  if (!plan.touches) return nullptr;
  Effects effects;
  each_tensor(call.inputs(), [&](const at::Tensor& tensor, size_t argument) {
    if (!tensor.defined() || !is_pinned(tensor)) return;
    if (plan.writes[argument]) {
      effects.writes(tensor, plan.names[argument]);
    } else {
      effects.reads(tensor, plan.names[argument]);
    }
  });
  detector().host_touches(plan.name, effects);
  return nullptr;
}

}  // namespace

void watch_host_accesses(bool on) {
  static std::mutex mutex;  // guards handle
  static at::CallbackHandle handle = 0;
  std::lock_guard lock(mutex);
  if (on == (handle != 0)) return;
  if (on) {
    handle = at::addGlobalCallback(
        at::RecordFunctionCallback(&look).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
  } else {
    at::removeCallback(std::exchange(handle, 0));
  }
}

}  // namespace storm::sim
