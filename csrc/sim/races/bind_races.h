// The race detector in plain Python types.
#pragma once

#include <pybind11/pybind11.h>

namespace storm::sim {

void bind_races(pybind11::module& m);

}  // namespace storm::sim
