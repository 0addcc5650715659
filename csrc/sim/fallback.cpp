#include "sim/fallback.h"

#include <torch/library.h>

#include "sim/geometry.h"
#include "sim/host_args.h"
#include "sim/host_view.h"
#include "sim/launch.h"

namespace storm::sim {
namespace {

GeometryCache& geometry_cache() {
  static auto* instance = new GeometryCache;
  return *instance;
}

// Results of a finished CPU kernel, moved to the device in stream order.
at::Tensor to_device(const at::Tensor& result) {
  auto out = empty_on_device(Geometry::of(result));
  if (result.defined() && result.numel() != 0) {
    launch("store_result", [result, target = host_view(out)] { target.copy_(result); });
  }
  return out;
}

c10::IValue to_device(const c10::IValue& result) {
  if (result.isTensor()) return to_device(result.toTensor());
  if (!result.isTensorList()) return result;
  c10::List<at::Tensor> out;
  for (const auto& item : result.toListRef()) out.push_back(to_device(item.toTensor()));
  return out;
}

// One call on its way from torch's stack to a stream.
class Call {
 public:
  Call(const c10::OperatorHandle& op, torch::jit::Stack& stack)
      : op_(op), plan_(plan_of(op)), stack_(stack) {
    plan_.check_supported();
    args_ = torch::jit::pop(stack_, op.schema().arguments().size());
    device_ = device_of(args_);
  }

  void issue();

 private:
  void issue_in_place();
  void issue_into(const Geometries& geometries);
  void wait_for_results(std::optional<std::string> key);
  bool has_unsized_out() const;
  Values host_args() const;
  Values run_now(Values host, std::vector<at::Tensor>& outs);
  void hand_back(const std::vector<c10::IValue>& fresh);

  const c10::OperatorHandle& op_;
  const OpPlan& plan_;
  torch::jit::Stack& stack_;
  Values args_;
  DeviceIndex device_ = 0;
};

void Call::issue() {
  CurrentDevice guard(device_);
  if (plan_.must_wait || (plan_.any_out && has_unsized_out())) return wait_for_results({});
  if (!plan_.fresh_returns) return issue_in_place();
  auto key = GeometryCache::key_of(&plan_, args_);
  if (key) {
    if (const auto known = geometry_cache().find(*key)) return issue_into(*known);
  }
  wait_for_results(std::move(key));
}

bool Call::has_unsized_out() const {
  for (size_t i = 0; i < args_.size(); ++i) {
    if (plan_.is_out[i] && args_[i].isTensor() && args_[i].toTensor().numel() == 0) return true;
  }
  return false;
}

Values Call::host_args() const {
  HostArgs converter(plan_, device_);
  Values host;
  host.reserve(args_.size());
  for (size_t i = 0; i < args_.size(); ++i) host.push_back(converter.convert(args_[i], i));
  return host;
}

void Call::issue_in_place() {
  launch(plan_.name.c_str(),
         [op = op_, host = host_args()]() mutable { op.callBoxed(&host); });
  hand_back({});
}

void Call::issue_into(const Geometries& geometries) {
  std::vector<c10::IValue> fresh;
  std::vector<std::pair<size_t, at::Tensor>> targets;  // index of return -> where it goes
  for (size_t r = 0, g = 0; r < plan_.alias_of.size(); ++r) {
    if (plan_.alias_of[r] >= 0) continue;
    auto tensor = empty_on_device(geometries[g++]);
    targets.emplace_back(r, host_view(tensor));
    fresh.emplace_back(std::move(tensor));
  }
  launch(plan_.name.c_str(),
         [op = op_, host = host_args(), targets = std::move(targets)]() mutable {
           op.callBoxed(&host);
           for (auto& [r, target] : targets) {
             const auto& result = host[r].toTensor();
             TORCH_CHECK(result.defined() == target.defined() &&
                             (!result.defined() || (result.sizes() == target.sizes() &&
                                                    result.dtype() == target.dtype())),
                         "its result's shape depends on values, not only on shapes");
             if (result.defined()) target.copy_(result);
           }
         });
  hand_back(fresh);
}

Values Call::run_now(Values host, std::vector<at::Tensor>& outs) {
  for (size_t i = 0; i < args_.size(); ++i) {
    if (!plan_.is_out[i] || !args_[i].isTensor()) continue;
    if (args_[i].toTensor().numel() == 0) {  // the kernel sizes it: let it have its own memory
      host[i] = at::Tensor(c10::make_intrusive<c10::TensorImpl>(
          c10::Storage(c10::Storage::use_byte_size_t(), 0, c10::GetAllocator(c10::kCPU), true),
          c10::DispatchKeySet(c10::DispatchKey::CPU), args_[i].toTensor().dtype()));
    }
    outs.push_back(host[i].toTensor());
  }
  launch_and_wait(plan_.name.c_str(), [&] { op_.callBoxed(&host); });
  return host;
}

void Call::wait_for_results(std::optional<std::string> key) {
  std::vector<at::Tensor> outs;
  const Values results = run_now(host_args(), outs);
  for (size_t i = 0, o = 0; i < args_.size(); ++i) {
    if (!plan_.is_out[i] || !args_[i].isTensor()) continue;
    const auto& made = outs[o++];
    const auto& out = args_[i].toTensor();
    if (out.numel() != 0) continue;
    out.resize_(made.sizes());
    if (made.numel() != 0) out.copy_(made);
  }
  std::vector<c10::IValue> fresh;
  Geometries learnt;
  for (size_t r = 0; r < plan_.alias_of.size(); ++r) {
    if (plan_.alias_of[r] >= 0) continue;
    fresh.push_back(to_device(results[r]));
    if (key) learnt.push_back(Geometry::of(results[r].toTensor()));
  }
  if (key) geometry_cache().insert(std::move(*key), std::move(learnt));
  hand_back(fresh);
}

void Call::hand_back(const std::vector<c10::IValue>& fresh) {
  for (size_t r = 0, f = 0; r < plan_.alias_of.size(); ++r) {
    const int argument = plan_.alias_of[r];
    stack_.push_back(argument >= 0 ? args_[static_cast<size_t>(argument)] : fresh[f++]);
  }
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu_kernel>());
}

}  // namespace

void run_on_cpu_kernel(const c10::OperatorHandle& op, c10::DispatchKeySet,
                       torch::jit::Stack* stack) {
  Call(op, *stack).issue();
}

}  // namespace storm::sim
