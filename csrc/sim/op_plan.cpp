#include "sim/op_plan.h"

#include <ATen/core/enum_tag.h>

#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <unordered_map>

namespace storm::sim {
namespace {

int generator_argument(const c10::FunctionSchema& schema) {
  const auto& args = schema.arguments();
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i].type()->str().find("Generator") != std::string::npos) return static_cast<int>(i);
  }
  return -1;
}

int aliased_argument(const c10::FunctionSchema& schema, const c10::AliasInfo& info) {
  const auto& args = schema.arguments();
  for (size_t i = 0; i < args.size(); ++i) {
    if (args[i].alias_info() != nullptr && *args[i].alias_info() == info)
      return static_cast<int>(i);
  }
  return -1;
}

CostRule cost_rule(const std::string& name) {
  static const std::unordered_map<std::string_view, CostRule> rules{
      {"aten::mm", CostRule::product},
      {"aten::bmm", CostRule::product},
      {"aten::mv", CostRule::product},
      {"aten::addmm", CostRule::added_product},
      {"aten::addmv", CostRule::added_product},
      {"aten::baddbmm", CostRule::added_product},
      {"aten::_addmm_activation", CostRule::added_product},
      {"aten::embedding", CostRule::gathered},
      {"aten::index_select", CostRule::gathered},
      {"aten::gather", CostRule::gathered},
      {"aten::index", CostRule::gathered},
      {"aten::nll_loss_forward", CostRule::gathered},
      {"aten::nll_loss2d_forward", CostRule::gathered},
      {"aten::native_batch_norm_backward", CostRule::two_passes},
  };
  const auto found = rules.find(name);
  return found == rules.end() ? CostRule::everything_once : found->second;
}

std::string reason_to_refuse(const c10::OperatorHandle& op) {
  if (!op.hasComputedKernelForDispatchKey(c10::DispatchKey::CPU)) {
    return "no CPU kernel could stand for it";
  }
  for (const auto& ret : op.schema().returns()) {
    if (ret.alias_info() != nullptr && !ret.alias_info()->isWrite()) {
      return "it returns a view and needs an implementation of its own";
    }
  }
  if (op.hasTag(at::Tag::nondeterministic_seeded) && generator_argument(op.schema()) < 0) {
    return "it draws random numbers without taking a generator";
  }
  return {};
}

}  // namespace

OpPlan::OpPlan(const c10::OperatorHandle& op)
    : name(op.schema().name() +
           (op.schema().overload_name().empty() ? "" : "." + op.schema().overload_name())),
      refusal(reason_to_refuse(op)) {
  const auto& schema = op.schema();
  for (const auto& arg : schema.arguments()) {
    is_out.push_back(arg.is_out());
    const bool written = arg.alias_info() != nullptr && arg.alias_info()->isWrite();
    is_written.push_back(written || arg.is_out());
    // torch moves the versions of single tensors. Of lists, only the foreach kernels of CPU and
    // CUDA do, not the fused optimizers.
    if (written && schema.name().starts_with("aten::_foreach_"))
      written_lists.push_back(static_cast<int>(is_out.size()) - 1);
    argument_names.push_back(arg.name());
    any_out |= arg.is_out();
  }
  depends_on_data =
      op.hasTag(at::Tag::data_dependent_output) || op.hasTag(at::Tag::dynamic_output_shape);
  must_wait = depends_on_data;
  cost = cost_rule(schema.name());
  for (const auto& ret : schema.returns()) {
    const auto* info = ret.alias_info();
    alias_of.push_back(info != nullptr ? aliased_argument(schema, *info) : -1);
    list_return.push_back(*ret.type() == *c10::ListType::ofTensors());
    if (alias_of.back() >= 0) continue;
    fresh_returns = true;
    const bool tensors = list_return.back() || ret.type()->kind() == c10::TypeKind::TensorType;
    must_wait |= !tensors;
    depends_on_data |= !tensors;
  }
  generator = generator_argument(schema);
  seeded = op.hasTag(at::Tag::nondeterministic_seeded);
  takes_host_indices = schema.name().find("index") != std::string::npos;
}

void OpPlan::check_supported() const {
  TORCH_CHECK_NOT_IMPLEMENTED(refusal.empty(), "sim: ", name,
                              " is not supported on the simulated accelerator: ", refusal);
}

const OpPlan& plan_of(const c10::OperatorHandle& op) {
  static auto* mutex = new std::shared_mutex;  // guards plans
  static auto* plans = new std::unordered_map<c10::OperatorHandle, std::unique_ptr<OpPlan>>;
  {
    std::shared_lock lock(*mutex);
    const auto found = plans->find(op);
    if (found != plans->end()) return *found->second;
  }
  auto plan = std::make_unique<OpPlan>(op);
  std::lock_guard lock(*mutex);
  return *plans->try_emplace(op, std::move(plan)).first->second;
}

}  // namespace storm::sim
