#include "sim/autograd_threads.h"

#include <torch/csrc/autograd/engine.h>

#include "sim/device.h"

namespace storm::sim {
namespace {

using torch::autograd::Engine;

// Engine keeps these for its subclasses.
struct EngineAccess : Engine {
  static size_t queues(Engine& engine) {
    return (engine.*(&EngineAccess::device_ready_queues_)).size();
  }
  static void initialize(Engine& engine) {
    (engine.*(&EngineAccess::initialize_device_threads_pool))();
  }
  static void start(Engine& engine) { (engine.*(&EngineAccess::start_device_threads))(); }
};

}  // namespace

void start_autograd_threads() {
  auto& engine = Engine::get_default_engine();
  EngineAccess::initialize(engine);
  const auto wanted = static_cast<size_t>(device_count());
  if (EngineAccess::queues(engine) == 0) EngineAccess::start(engine);
  TORCH_CHECK(EngineAccess::queues(engine) >= wanted,
              "sim: autograd already started its threads "
              "for fewer than ",
              wanted, " devices; call enable() before the first backward");
}

void renew_autograd_engine() {
  Engine::get_default_engine();  // torch replaces its engine at the first use after a fork
}

}  // namespace storm::sim
