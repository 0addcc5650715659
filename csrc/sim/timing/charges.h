// Host time charged for named ranges of the profiler: what C++ hooks cost besides their device
// calls.
#pragma once

#include <string>
#include <unordered_map>

namespace storm::sim {

// Seconds charged each time a range of that name begins, on any thread. Replaces what was set
// before; empty ends it. Nothing is charged unless the clock is virtual.
void charge_ranges(std::unordered_map<std::string, double> seconds);

}  // namespace storm::sim
