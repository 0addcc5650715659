#pragma once

#include "runtime/machine.h"

namespace cuda_double {

Machine& simulated_machine();  // lives for ever

}  // namespace cuda_double
