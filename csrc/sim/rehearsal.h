// Learning the shapes of an operation's results without waiting for its stream.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>

#include "sim/geometry.h"
#include "sim/host_args.h"

namespace storm::sim {

// Runs a CPU kernel on the calling thread, past autograd and autocast. Results replace `host`.
void call_on_this_thread(const c10::OperatorHandle& op, Values& host);

// Runs the kernel once on zeros of the arguments' shapes; the fresh results' geometries. None if it
// does not accept zeros. Draws no random numbers of the device.
std::optional<Geometries> rehearse(const c10::OperatorHandle& op, const OpPlan& plan,
                                   const Values& args);

// The same without any memory: asks torch's meta kernels. None if the operation has none; raises
// what is wrong with the arguments.
std::optional<Geometries> deduce(const c10::OperatorHandle& op, const OpPlan& plan,
                                 const Values& args);

// The results of the meta kernel.
Values call_without_values(const c10::OperatorHandle& op, const Values& args);

}  // namespace storm::sim
