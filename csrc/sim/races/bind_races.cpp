#include "sim/races/bind_races.h"

#include <pybind11/stl.h>

#include "sim/races/detector.h"
#include "sim/races/site.h"

namespace py = pybind11;

namespace storm::sim {
namespace {

py::tuple side(const RaceSide& side) {
  return py::make_tuple(side.operation, side.actor, side.module, side.tensor);
}

py::list races() {
  py::list out;
  for (const Race& race : detector().races()) {
    out.append(py::make_tuple(race.kind, side(race.first), side(race.second), race.missing,
                              race.bytes, race.count));
  }
  return out;
}

}  // namespace

void bind_races(py::module& m) {
  m.def("races", &races);
  m.def("clear_races", [] { detector().clear_races(); });
  m.def("name_module", &name_module);
  m.def("enter_module", &enter_module);
  m.def("leave_module", &leave_module);
  m.def("host_lists", [](uintptr_t begin, size_t bytes) {
    detector().host_touches("tolist", Effects().reads(reinterpret_cast<void*>(begin), bytes));
  });
}

}  // namespace storm::sim
