#include <torch/csrc/utils/pybind.h>

#include "base/process.h"
#include "engine/activation.h"
#include "engine/offload_context.h"
#include "engine/storm_system.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace storm::python {

py::dict to_dict(const EngineStats& engine) {
  py::dict d;
  static constexpr const char* kReasons[] = {"parameter", "small", "last", "foreign", "host_full"};
  static_assert(std::size(kReasons) == static_cast<size_t>(KeepReason::count));
  for (size_t i = 0; i < std::size(kReasons); ++i) {
    d[py::str(std::string("kept_") + kReasons[i] + "_tensors")] = engine.kept[i].tensors;
    d[py::str(std::string("kept_") + kReasons[i] + "_bytes")] = engine.kept[i].bytes;
  }
  d["offloaded_tensors"] = engine.offloaded_tensors;
  d["offloaded_bytes"] = engine.offloaded_bytes;
  d["packed_tensors"] = engine.packed_tensors;
  d["packed_bytes"] = engine.packed_bytes;
  d["shared_tensors"] = engine.shared_tensors;
  d["shared_bytes"] = engine.shared_bytes;
  d["fetched_tensors"] = engine.fetched_tensors;
  d["fetched_bytes"] = engine.fetched_bytes;
  d["returned_tensors"] = engine.returned_tensors;
  d["returned_bytes"] = engine.returned_bytes;
  d["late_fetches"] = engine.late_fetches;
  d["prefetch_refusals"] = engine.prefetch_refusals;
  return d;
}

namespace {

using PressureCallback = bool (*)(c10::Device) noexcept;

py::dict stats_of(StormSystem& system) {
  py::dict d = to_dict(system.engine_stats());
  const PoolStats pool = system.pool().stats();
  d["stall_seconds"] = system.stall_seconds();
  d["pool_hits"] = pool.hits;
  d["pool_misses"] = pool.misses;
  d["pin_failures"] = pool.pin_failures;
  d["host_refusals"] = pool.refusals;
  d["host_bytes"] = pool.live_bytes;
  d["peak_host_bytes"] = pool.peak_live_bytes;
  d["pinned_bytes"] = pool.pinned_bytes;
  d["pageable_bytes"] = pool.pageable_bytes;
  d["peak_reserved_host_bytes"] = pool.peak_slab_bytes;
  return d;
}

void bind_config(py::module_& m) {
  py::class_<OffloadConfig>(m, "OffloadConfig")
      .def(py::init<>())
      .def_readwrite("min_bytes", &OffloadConfig::min_bytes)
      .def_readwrite("window_bytes", &OffloadConfig::window_bytes)
      .def_readwrite("prefetch_bytes", &OffloadConfig::prefetch_bytes)
      .def_readwrite("keep_last_bytes", &OffloadConfig::keep_last_bytes)
      .def_readwrite("host_bytes", &OffloadConfig::host_bytes)
      .def_readwrite("slab_bytes", &OffloadConfig::slab_bytes)
      .def_readwrite("pack_bool", &OffloadConfig::pack_bool)
      .def_readwrite("measure_stalls", &OffloadConfig::measure_stalls);
}

void bind_system(py::module_& m) {
  using Released = py::call_guard<py::gil_scoped_release>;
  py::class_<StormSystem, std::shared_ptr<StormSystem>>(m, "StormSystem")
      .def(py::init<c10::Device, OffloadConfig>(), py::arg("device"), py::arg("config"), Released())
      .def_property_readonly("device", &StormSystem::device)
      .def_property_readonly("closed", &StormSystem::closed)
      .def_property_readonly("d2h_stream",
                             [](StormSystem& s) { return s.transfers()->streams.d2h(); })
      .def_property_readonly("h2d_stream",
                             [](StormSystem& s) { return s.transfers()->streams.h2d(); })
      .def("stats", &stats_of)
      .def("reset_peaks", [](StormSystem& s) { s.pool().reset_peaks(); })
      .def(
          "trim", [](StormSystem& s) { s.pool().trim(); }, Released())
      .def("close", &StormSystem::close, Released())
      .def("check_invariants", &StormSystem::check_invariants, Released());
}

}  // namespace

void bind_engine(py::module_& m) {
  using Released = py::call_guard<py::gil_scoped_release>;
  bind_config(m);
  bind_system(m);
  py::class_<OffloadContext, std::shared_ptr<OffloadContext>>(m, "OffloadContext")
      .def(py::init<std::shared_ptr<StormSystem>, const std::vector<at::Tensor>&>(),
           py::arg("system"), py::arg("model"), Released());
  py::class_<SavedTensor, std::shared_ptr<SavedTensor>>(m, "SavedTensor")
      .def("fetch", &SavedTensor::fetch, Released())
      .def_property_readonly("offloaded", &SavedTensor::offloaded);
  py::class_<OffloadedActivation, std::shared_ptr<OffloadedActivation>>(m, "OffloadedActivation")
      .def_readonly("layer_id", &OffloadedActivation::layer_id);
  m.def("offload_activation_to_cpu", &offload_activation_to_cpu, py::arg("activation"),
        py::arg("layer_id"), py::arg("system"), Released());
  m.def("fetch_activation_from_cpu", &fetch_activation_from_cpu, py::arg("activation"), Released());
  m.def("set_process_exiting", &set_process_exiting);
  m.def(
      "memory_pressure_callback",
      [] {
        return py::capsule(reinterpret_cast<void*>(static_cast<PressureCallback>(&release_held)),
                           "pamiq_storm.memory_pressure");
      },
      "A `bool (*)(c10::Device) noexcept` for an allocator that runs dry: true when memory was "
      "freed.");
}

}  // namespace storm::python
