// pamiq_storm._sim: what sim.py needs, in plain types.
#include <pybind11/pybind11.h>

#include "sim/autograd_threads.h"
#include "sim/device.h"
#include "sim/generator.h"
#include "sim/lifecycle.h"
#include "sim/sim.h"

namespace py = pybind11;

namespace storm::sim {
namespace {

// Stops a stream until released: tests order events by it instead of by sleeping.
class Hold {
 public:
  Hold(int device, int64_t stream) : marker_(std::make_shared<Marker>()) {
    stream_of(make_stream(static_cast<DeviceIndex>(device), stream)).wait_for(marker_);
  }
  void release() { marker_->reach(); }

 private:
  MarkerRef marker_;
};

py::dict stats_dict() {
  const Stats s = stats();
  py::dict out;
  out["async_kernels"] = s.async_kernels;
  out["sync_kernels"] = s.sync_kernels;
  out["d2h_copies"] = s.d2h_copies;
  out["h2d_copies"] = s.h2d_copies;
  out["d2h_bytes"] = s.d2h_bytes;
  out["h2d_bytes"] = s.h2d_bytes;
  out["d2h_busy_s"] = s.d2h_busy_s;
  out["h2d_busy_s"] = s.h2d_busy_s;
  out["compute_busy_s"] = s.compute_busy_s;
  out["pinned_bytes"] = s.pinned_bytes;
  out["peak_pinned_bytes"] = s.peak_pinned_bytes;
  return out;
}

py::tuple rng_state(int device) {
  auto generator = default_generator(static_cast<c10::DeviceIndex>(device));
  std::lock_guard lock(generator.mutex());
  return py::make_tuple(generator.current_seed(), generator.get_offset());
}

void set_rng_state(int device, uint64_t seed, uint64_t offset) {
  auto generator = default_generator(static_cast<c10::DeviceIndex>(device));
  std::lock_guard lock(generator.mutex());
  generator.set_current_seed(seed);
  generator.set_offset(offset);
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  py::class_<Config>(m, "Config")
      .def(py::init<>())
      .def_readwrite("memory_bytes", &Config::memory_bytes)
      .def_readwrite("d2h_bytes_per_s", &Config::d2h_bytes_per_s)
      .def_readwrite("h2d_bytes_per_s", &Config::h2d_bytes_per_s)
      .def_readwrite("pageable_bytes_per_s", &Config::pageable_bytes_per_s)
      .def_readwrite("devices", &Config::devices)
      .def_readwrite("poison", &Config::poison)
      .def_readwrite("synchronous", &Config::synchronous);
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  m.def("enable", &enable, no_gil);
  m.def("enabled", &enabled);
  m.def("configure", &configure, no_gil);
  m.def("current_config", &current_config);
  m.def("stats", &stats_dict);
  m.def("reset_stats", &reset_stats);
  m.def("shutdown", &shutdown, no_gil);
  py::class_<Hold>(m, "Hold").def(py::init<int, int64_t>(), no_gil).def("release", &Hold::release);
  m.def("renew_autograd_engine", &renew_autograd_engine);
  m.def("forked", [] { return phase() == Phase::forked; });
  m.def("rng_state", &rng_state);
  m.def("set_rng_state", &set_rng_state);
}

}  // namespace storm::sim
