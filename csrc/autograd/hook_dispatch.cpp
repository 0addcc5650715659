#include "autograd/hook_dispatch.h"

#include <ATen/SavedTensorHooks.h>
#include <torch/csrc/autograd/engine.h>
#include <torch/version.h>

#include <atomic>

#include "autograd/offload_hook.h"
#include "base/process.h"

namespace storm {
namespace {

namespace ag = torch::autograd;

std::atomic<ag::Engine*> base_engine{nullptr};  // static in torch, at one address for good
std::atomic<SentinelLookup> sentinel_lookup{nullptr};

std::shared_ptr<OffloadContext>& scope_slot() noexcept {
  static thread_local std::shared_ptr<OffloadContext> context;
  return context;
}

const std::shared_ptr<OffloadContext>* answering_context() {
  const auto& state = at::SavedTensorDefaultHooks::get_tls_state();
  if (state.is_tracing) return nullptr;
  if (!state.stack.empty()) {
    const auto lookup = sentinel_lookup.load(std::memory_order_relaxed);
    return lookup != nullptr ? lookup(state.stack.top().first) : nullptr;
  }
  if (state.disabled_error_message) return nullptr;
  const auto& scoped = scope_slot();
  return scoped ? &scoped : nullptr;
}

ag::Engine& base() {
  return *base_engine.load(std::memory_order_relaxed);
}

class Facade final : public ag::Engine {
 public:
  ~Facade() override { stop(); }
  std::unique_ptr<ag::SavedVariableHooks> get_default_saved_variable_hooks() override {
    if (const auto* context = answering_context()) return std::make_unique<OffloadHook>(*context);
    return base().get_default_saved_variable_hooks();
  }
  ag::variable_list execute(const ag::edge_list& roots, const ag::variable_list& inputs,
                            bool keep_graph, bool create_graph, bool accumulate_grad,
                            const ag::edge_list& outputs) override {
    return base().execute(roots, inputs, keep_graph, create_graph, accumulate_grad, outputs);
  }
  c10::intrusive_ptr<at::ivalue::Future> execute_with_graph_task(
      const std::shared_ptr<ag::GraphTask>& task, c10::intrusive_ptr<ag::Node> root,
      ag::InputBuffer&& buffer) override {
    return base().execute_with_graph_task(task, std::move(root), std::move(buffer));
  }
  std::unique_ptr<ag::AnomalyMetadata> make_anomaly_metadata() override {
    return base().make_anomaly_metadata();
  }
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 14
  std::vector<std::unique_ptr<ag::NodeCreationHook>> get_node_creation_hooks() override {
    return base().get_node_creation_hooks();
  }
#endif
  void thread_on_exception(const std::shared_ptr<ag::GraphTask>& task,
                           const c10::intrusive_ptr<ag::Node>& node,
                           std::exception& error) override {
    base().thread_on_exception(task, node, error);
  }
};

ag::Engine& facade() {
  static auto* engine = new Facade;  // never destroyed: torch may ask while the process ends
  return *engine;
}

}  // namespace

void set_sentinel_lookup(SentinelLookup lookup) noexcept {
  sentinel_lookup.store(lookup);
}

bool ensure_hook_dispatch() {
  static const bool installed = [] {
    auto& engine = ag::Engine::get_default_engine();
    engine.initialize_device_threads_pool();
    base_engine.store(&engine);
    ag::set_default_engine_stub(&facade);
    return dynamic_cast<Facade*>(&ag::Engine::get_default_engine()) != nullptr;
  }();
  return installed;
}

void hook_dispatch_after_fork() {
  auto* engine = base_engine.load();
  if (engine == nullptr) return;
  engine->release_workers();
  set_process_exiting();  // whoever has a device of the parent's is to abandon it
}

OffloadScope::OffloadScope(std::shared_ptr<OffloadContext> context) : outer_(scope_slot()) {
  if (!context) return;
  ensure_hook_dispatch();
  scope_slot() = std::move(context);
}

OffloadScope::~OffloadScope() {
  scope_slot() = std::move(outer_);
}

const std::shared_ptr<OffloadContext>& OffloadScope::current() noexcept {
  return scope_slot();
}

}  // namespace storm
