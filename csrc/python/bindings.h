#pragma once
#include <pybind11/pybind11.h>

#include "engine/stats.h"

namespace storm::python {

// The fields of OffloadStats that the engine counts.
pybind11::dict to_dict(const EngineStats& stats);

// One per file; module.cpp calls them in this order.
void bind_build(pybind11::module_& m);
void bind_host(pybind11::module_& m);
void bind_engine(pybind11::module_& m);
void bind_sentinel(pybind11::module_& m);
void bind_nn(pybind11::module_& m);
void bind_trace(pybind11::module_& m);
void bind_publish(pybind11::module_& m);

}  // namespace storm::python
