#include "sim/fallback.h"

#include <ATen/EmptyTensor.h>
#include <torch/library.h>

#include "sim/generator.h"
#include "sim/geometry.h"
#include "sim/host_args.h"
#include "sim/host_view.h"
#include "sim/launch.h"
#include "sim/op_work.h"
#include "sim/rehearsal.h"

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
    launch("store_result", Effects().writes(out),
           [result, target = host_view(out)] { target.copy_(result); });
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

// The host views of fresh results, in the same arrangement.
c10::IValue host_views(const c10::IValue& fresh) {
  return map_tensors(fresh, [](const at::Tensor& tensor) { return host_view(tensor); });
}

void store_result(const at::Tensor& result, const at::Tensor& target) {
  TORCH_CHECK(result.defined() == target.defined(), "a result was unexpectedly (un)defined");
  if (!result.defined()) return;
  TORCH_CHECK(result.sizes() == target.sizes() && result.dtype() == target.dtype(),
              "the shape of its result depends on values: expected ", target.sizes(), ", got ",
              result.sizes());
  target.copy_(result);
}

void store_result(const c10::IValue& result, const c10::IValue& target) {
  if (result.isTensor()) return store_result(result.toTensor(), target.toTensor());
  const auto results = result.toTensorVector(), targets = target.toTensorVector();
  TORCH_CHECK(results.size() == targets.size(), "the number of its results depends on values");
  for (size_t i = 0; i < results.size(); ++i) store_result(results[i], targets[i]);
}

c10::IValue empty_on_device(const ResultGeometry& geometry, Effects& effects) {
  std::vector<at::Tensor> tensors;
  for (const auto& one : geometry.tensors) {
    tensors.push_back(empty_on_device(one));
    effects.writes(tensors.back(), "result");
  }
  if (geometry.is_list) return c10::List<at::Tensor>(tensors);
  return tensors.front();
}

at::Tensor empty_on_host(const at::Tensor& like) {
  return at::detail::empty_cpu({0}, like.scalar_type());
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
  void issue_ghost();
  void size_outs();
  void issue_in_place();
  void issue_into(const Geometries& geometries);
  void run_before_returning(bool needs_stream);
  bool has_unsized_out() const;
  std::shared_ptr<const Geometries> result_geometries() const;
  Values host_args() const;
  void store_outs(const Values& host);
  void hand_back(const std::vector<c10::IValue>& fresh);

  const c10::OperatorHandle& op_;
  const OpPlan& plan_;
  torch::jit::Stack& stack_;
  Values args_;
  Effects effects_;
  DeviceIndex device_ = 0;
};

void Call::issue() {
  CurrentDevice guard(device_);
  effects_ = effects_of(plan_, args_);
  for (const int list : plan_.written_lists) {
    for (const at::Tensor& tensor : args_[static_cast<size_t>(list)].toTensorList())
      tensor.unsafeGetTensorImpl()->bump_version();
  }
  if (settings().ghost) return issue_ghost();
  // What reads no device memory needs no stream: factories such as arange.
  if (!tensor_device(args_, plan_.is_out)) return run_before_returning(/*needs_stream=*/false);
  if (plan_.must_wait || has_unsized_out()) return run_before_returning(/*needs_stream=*/true);
  if (!plan_.fresh_returns) return issue_in_place();
  if (const auto known = result_geometries()) return issue_into(*known);
  run_before_returning(/*needs_stream=*/true);
}

// Nothing is computed: results have shapes and take time.
void Call::issue_ghost() {
  TORCH_CHECK_NOT_IMPLEMENTED(!plan_.depends_on_data, "sim: what ", plan_.name,
                              " returns depends on values, and memory='ghost' has none");
  if (has_unsized_out()) size_outs();
  if (!plan_.fresh_returns) return issue_in_place();
  const auto known = result_geometries();
  TORCH_CHECK_NOT_IMPLEMENTED(known != nullptr, "sim: torch has no meta kernel for ", plan_.name,
                              ", so memory='ghost' cannot tell the shape of its result");
  issue_into(*known);
}

void Call::size_outs() {
  const Values made = call_without_values(op_, args_);
  for (size_t r = 0; r < plan_.alias_of.size(); ++r) {
    const int argument = plan_.alias_of[r];
    if (argument < 0 || !args_[static_cast<size_t>(argument)].isTensor()) continue;
    const auto& out = args_[static_cast<size_t>(argument)].toTensor();
    if (out.sizes() != made[r].toTensor().sizes()) out.resize_(made[r].toTensor().sizes());
  }
  effects_ = effects_of(plan_, args_);
}

bool Call::has_unsized_out() const {
  if (!plan_.any_out) return false;
  for (size_t i = 0; i < args_.size(); ++i) {
    if (plan_.is_out[i] && args_[i].isTensor() && args_[i].toTensor().numel() == 0) return true;
  }
  return false;
}

std::shared_ptr<const Geometries> Call::result_geometries() const {
  auto key = GeometryCache::key_of(&plan_, args_);
  if (!key) return nullptr;
  if (auto known = geometry_cache().find(*key)) return known;
  auto learnt = settings().ghost ? deduce(op_, plan_, args_) : rehearse(op_, plan_, args_);
  if (!learnt) return nullptr;
  auto shared = std::make_shared<const Geometries>(std::move(*learnt));
  geometry_cache().insert(std::move(*key), shared);
  return shared;
}

Values Call::host_args() const {
  if (settings().ghost) return {};
  HostArgs converter(plan_, device_);
  Values host;
  host.reserve(args_.size());
  for (size_t i = 0; i < args_.size(); ++i) {
    if (static_cast<int>(i) == plan_.generator && plan_.seeded) {
      host.push_back(kernel_generator(args_[i].toOptional<at::Generator>()));
    } else {
      host.push_back(converter.convert(args_[i], i));
    }
  }
  return host;
}

void Call::issue_in_place() {
  launch(plan_.name.c_str(), effects_, work_of(plan_, args_, effects_),
         [op = op_, host = host_args()]() mutable { op.callBoxed(&host); });
  hand_back({});
}

void Call::issue_into(const Geometries& geometries) {
  std::vector<c10::IValue> fresh;
  std::vector<std::pair<size_t, c10::IValue>> targets;  // index of return -> where it goes
  for (size_t r = 0, g = 0; r < plan_.alias_of.size(); ++r) {
    if (plan_.alias_of[r] >= 0) continue;
    fresh.push_back(empty_on_device(geometries[g++], effects_));
    targets.emplace_back(r, host_views(fresh.back()));
  }
  launch(plan_.name.c_str(), effects_, work_of(plan_, args_, effects_),
         [op = op_, host = host_args(), targets = std::move(targets)]() mutable {
           op.callBoxed(&host);
           for (auto& [r, target] : targets) store_result(host[r], target);
         });
  hand_back(fresh);
}

void Call::run_before_returning(bool needs_stream) {
  Values host = host_args();
  for (size_t i = 0; i < args_.size(); ++i) {
    // The kernel sizes its output: let it have memory of its own.
    if (plan_.is_out[i] && args_[i].isTensor()) host[i] = empty_on_host(args_[i].toTensor());
  }
  Values outs = host;  // callBoxed consumes its arguments
  if (needs_stream) {
    launch_and_wait(plan_.name.c_str(), effects_, work_of(plan_, args_, effects_),
                    [&] { op_.callBoxed(&host); });
  } else {
    call_on_this_thread(op_, host);
  }
  store_outs(outs);
  std::vector<c10::IValue> fresh;
  for (size_t r = 0; r < plan_.alias_of.size(); ++r) {
    if (plan_.alias_of[r] < 0) fresh.push_back(to_device(host[r]));
  }
  hand_back(fresh);
}

void Call::store_outs(const Values& host) {
  for (size_t i = 0; i < args_.size(); ++i) {
    if (!plan_.is_out[i] || !args_[i].isTensor()) continue;
    const auto& made = host[i].toTensor();
    const auto& out = args_[i].toTensor();
    if (out.sizes() != made.sizes()) out.resize_(made.sizes());
    if (made.numel() == 0) continue;
    launch("store_out", Effects().writes(out),
           [made, target = host_view(out)] { target.copy_(made); });
  }
}

void Call::hand_back(const std::vector<c10::IValue>& fresh) {
  for (size_t r = 0, f = 0; r < plan_.alias_of.size(); ++r) {
    const int argument = plan_.alias_of[r];
    stack_.push_back(argument >= 0 ? args_[static_cast<size_t>(argument)] : fresh[f++]);
  }
}

}  // namespace

void run_on_cpu_kernel(const c10::OperatorHandle& op, c10::DispatchKeySet,
                       torch::jit::Stack* stack) {
  Call(op, *stack).issue();
}

}  // namespace storm::sim
