// How long work takes on a machine that a profile describes. See docs/simulator.md.
#pragma once

#include "sim/timing/profile.h"
#include "sim/timing/work.h"

namespace storm::sim {

// Seconds of a kernel's two limits; it takes the longer one, and never less than the floor.
struct KernelCost {
  double compute = 0;
  double memory = 0;
};

KernelCost kernel_cost(const Work& work, const Profile& profile);

// Seconds that a copy occupies its direction of the link, latency included.
double copy_cost(const Work& work, const Profile& profile);

// Bytes per second at which a copy over the link goes.
double link_rate(const Work& work, const Profile& profile);

}  // namespace storm::sim
