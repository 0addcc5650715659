// What the simulator does to torch when it is enabled, for CUDA.
#include "backend.h"

#include "demand.h"
#include "overrides.h"
#include "pinned.h"
#include "sim/autograd_threads.h"
#include "sim/hooks.h"

namespace storm::sim {

void register_backend() {
  cuda_double_set_machine(&cuda_double::simulated_machine());
  cuda_double::override_operations();
  cuda_double::watch_pinned_allocator();
  cuda_double::fail_allocations_on_demand();
}

// torch starts those of CUDA itself, and renews its engine after a fork.
void start_autograd_threads() {}
void renew_autograd_engine() {}

}  // namespace storm::sim

extern "C" __attribute__((visibility("default"))) void cuda_double_override_operations() {
  cuda_double::override_operations();
}
