// What the fallback's operations touch and what they cost.
#pragma once

#include "sim/effects.h"
#include "sim/host_args.h"
#include "sim/op_plan.h"
#include "sim/timing/work.h"

namespace storm::sim {

// The arguments' part; what the call makes comes on top with Effects::writes.
Effects effects_of(const OpPlan& plan, const Values& args);

Work work_of(const OpPlan& plan, const Values& args, const Effects& effects);

}  // namespace storm::sim
