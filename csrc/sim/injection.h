// Calls that are to fail: what the entry points ask. The public side is in sim.h.
#pragma once

#include "sim/sim.h"

namespace storm::sim {

// Counts one call of a kind, named by its member of Faults. True if it is to fail.
bool injected(int64_t Faults::* kind) noexcept;

}  // namespace storm::sim
