#pragma once
#include <pybind11/pybind11.h>

namespace storm::python {

// One per file; module.cpp calls them in this order.
void bind_host(pybind11::module_& m);
void bind_engine(pybind11::module_& m);
void bind_sentinel(pybind11::module_& m);
void bind_nn(pybind11::module_& m);

}  // namespace storm::python
