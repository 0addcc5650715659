#include <torch/csrc/utils/pybind.h>

#include "engine/recorder.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace storm::python {
namespace {

py::dict to_dict(const Recording::Entry& entry) {
  using namespace py::literals;
  return py::dict("lane"_a = entry.lane, "name"_a = entry.name, "module"_a = entry.module,
                  "tensor"_a = entry.tensor, "id"_a = entry.id, "bytes"_a = entry.bytes,
                  "begin"_a = entry.begin, "seconds"_a = entry.seconds);
}

py::dict to_dict(const Recording::Module& module) {
  py::dict stalls;
  for (size_t i = 0; i < module.stall_seconds.size(); ++i) {
    if (module.stall_seconds[i] > 0)
      stalls[name_of(static_cast<StallCause>(i))] = module.stall_seconds[i];
  }
  py::dict d;
  d["module"] = module.name;
  d["stats"] = python::to_dict(module.stats);
  d["stalls"] = stalls;
  return d;
}

py::dict stop_recording() {
  Recording recording;
  {
    py::gil_scoped_release release;
    recording = Recorder::stop();
  }
  py::list entries, levels, modules;
  for (const auto& entry : recording.entries) entries.append(to_dict(entry));
  for (const auto& level : recording.host_bytes)
    levels.append(py::make_tuple(level.at, level.bytes));
  for (const auto& module : recording.modules) modules.append(to_dict(module));
  py::dict d;
  d["seconds"] = recording.seconds;
  d["entries"] = entries;
  d["host_bytes"] = levels;
  d["modules"] = modules;
  return d;
}

}  // namespace

void bind_trace(py::module_& m) {
  m.def("start_recording", &Recorder::start, py::call_guard<py::gil_scoped_release>());
  m.def("stop_recording", &stop_recording,
        "Ends the recording and returns it, once what it recorded is over.");
  m.def("label_of", &label_of, py::arg("name"));
  m.def("exchange_label", &exchange_label, py::arg("label"),
        "Sets what this thread computes, for traces; returns what it was.");
}

}  // namespace storm::python
