// Any operation without a kernel of its own: the CPU kernel over the same memory, in stream order.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>

namespace storm::sim {

// Boxed kernel. Returns at once if the shapes of the results are known: in-place and sized out=
// calls always, others from their second call with the same shapes on. Otherwise waits.
void run_on_cpu_kernel(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                       torch::jit::Stack* stack);

}  // namespace storm::sim
