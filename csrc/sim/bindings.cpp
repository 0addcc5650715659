// pamiq_storm._sim: what sim.py needs, in plain types.
#include <c10/util/Exception.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "sim/autograd_threads.h"
#include "sim/capture.h"
#include "sim/counters.h"
#include "sim/device.h"
#include "sim/generator.h"
#include "sim/lifecycle.h"
#include "sim/races/bind_races.h"
#include "sim/schedule.h"
#include "sim/sim.h"
#include "sim/timing/charges.h"
#include "sim/timing/timeline.h"
#include "sim/timing/virtual_time.h"

namespace py = pybind11;

namespace storm::sim {
namespace {

// Stops a stream until released: tests order events by it instead of by sleeping.
class Hold {
 public:
  Hold(int device, int64_t stream) : marker_(std::make_shared<Marker>()) {
    storm::sim::device(static_cast<DeviceIndex>(device)).check_alive();
    stream_of(make_stream(static_cast<DeviceIndex>(device), stream)).wait_for(marker_);
  }
  void release() { marker_->reach(); }

 private:
  MarkerRef marker_;
};

// What lasts from its making until Python calls end().
template <class Context>
class Scope {
 public:
  template <class... Args>
  explicit Scope(Args&&... args) : context_(std::in_place, std::forward<Args>(args)...) {}
  void end() { context_.reset(); }

 private:
  std::optional<Context> context_;
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
  out["flops"] = s.flops;
  out["pageable_copies"] = s.pageable_copies;
  out["synchronisations"] = s.synchronisations;
  out["pinned_requests"] = s.pinned_requests;
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

Faults faults(int64_t allocation, int64_t pinned, int64_t copy, int64_t task, int64_t lose_device) {
  return {allocation, pinned, copy, task, lose_device};
}

std::unique_ptr<Scope<Stall>> stall(int device, int64_t stream, double factor) {
  return std::make_unique<Scope<Stall>>(make_stream(static_cast<DeviceIndex>(device), stream),
                                        factor);
}

constexpr const char* kPressureCapsule = "pamiq_storm.memory_pressure";

void set_memory_pressure_callback(const std::optional<py::capsule>& capsule) {
  if (!capsule) return on_memory_pressure(nullptr);
  TORCH_CHECK_VALUE(
      capsule->name() != nullptr && std::string_view(capsule->name()) == kPressureCapsule,
      "sim: expected a capsule named ", kPressureCapsule, " that holds a function");
  on_memory_pressure(reinterpret_cast<MemoryPressureCallback>(capsule->get_pointer()));
}

void bind_disturbances(py::module& m) {
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  py::class_<Faults>(m, "Faults")
      .def(py::init(&faults), py::kw_only(), py::arg("allocation") = 0, py::arg("pinned") = 0,
           py::arg("copy") = 0, py::arg("task") = 0, py::arg("lose_device") = 0)
      .def_readonly("allocation", &Faults::allocation)
      .def_readonly("pinned", &Faults::pinned)
      .def_readonly("copy", &Faults::copy)
      .def_readonly("task", &Faults::task)
      .def_readonly("lose_device", &Faults::lose_device);
  py::class_<Injection>(m, "Injection")
      .def(py::init<const Faults&>())
      .def("fired", &Injection::fired)
      .def("end", &Injection::end, no_gil);
  py::class_<Scope<Stall>>(m, "Stall")
      .def(py::init(&stall), no_gil)
      .def("end", &Scope<Stall>::end, no_gil);
  py::class_<Scope<Fuzz>>(m, "Fuzz")
      .def(py::init([](uint64_t seed, int64_t max_delay_ns) {
        return std::make_unique<Scope<Fuzz>>(seed, std::chrono::nanoseconds(max_delay_ns));
      }))
      .def("end", &Scope<Fuzz>::end)
      .def_static("given_ns", [] { return schedule().given().count(); });
}

const char* lane(Unit unit) {
  return unit == Unit::d2h ? "d2h" : unit == Unit::h2d ? "h2d" : "compute";
}

py::list spans() {
  py::list out;
  for (const auto& s : timeline().spans()) {
    out.append(py::make_tuple(lane(s.unit), s.name, s.stream, s.begin_ns, s.end_ns, s.bytes));
  }
  return out;
}

py::list memory_points() {
  py::list out;
  for (const auto& p : timeline().memory()) {
    out.append(py::make_tuple(p.ns, p.allocated, p.reserved));
  }
  return out;
}

void bind_timing(py::module& m) {
  py::class_<Profile> profile(m, "Profile");
  profile.def(py::init<>());
#define STORM_NUMBER(name) profile.def_readwrite(#name, &Profile::name)
  STORM_NUMBER(memory_bytes);
  STORM_NUMBER(half_flops);
  STORM_NUMBER(tf32_flops);
  STORM_NUMBER(single_flops);
  STORM_NUMBER(double_flops);
  STORM_NUMBER(matmul_efficiency);
  STORM_NUMBER(convolution_efficiency);
  STORM_NUMBER(attention_efficiency);
  STORM_NUMBER(attention_backward_efficiency);
  STORM_NUMBER(memory_bytes_per_s);
  STORM_NUMBER(memory_efficiency);
  STORM_NUMBER(kernel_floor_s);
  STORM_NUMBER(d2h_bytes_per_s);
  STORM_NUMBER(h2d_bytes_per_s);
  STORM_NUMBER(pageable_bytes_per_s);
  STORM_NUMBER(copy_latency_s);
  STORM_NUMBER(launch_s);
  STORM_NUMBER(api_s);
  STORM_NUMBER(pin_s);
  STORM_NUMBER(pin_bytes_per_s);
  STORM_NUMBER(unpin_s);
  STORM_NUMBER(device_malloc_s);
  STORM_NUMBER(device_free_s);
  STORM_NUMBER(host_memory_bytes);
#undef STORM_NUMBER
  m.def("set_profile", [](const Profile& p) { virtual_time().set_profile(p); });
  m.def("now_ns", [] { return nanoseconds(now().time_since_epoch()); });
  m.def("advance", [](double seconds) { virtual_time().host_works(seconds); });
  m.def("charge_ranges", &charge_ranges);
  m.def("start_timeline", [] { timeline().start(); });
  m.def("stop_timeline", [] { timeline().stop(); });
  m.def("spans", &spans);
  m.def("memory_points", &memory_points);
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
      .def_readwrite("synchronous", &Config::synchronous)
      .def_readwrite("virtual_clock", &Config::virtual_clock)
      .def_readwrite("ghost", &Config::ghost)
      .def_readwrite("races", &Config::races);
  const auto no_gil = py::call_guard<py::gil_scoped_release>();
  m.def("enable", &enable, no_gil);
  m.def("enabled", &enabled);
  m.def("configure", &configure, no_gil);
  m.def("current_config", &current_config);
  m.def("stats", &stats_dict);
  m.def("reset_stats", &reset_stats);
  m.def("shutdown", &shutdown, no_gil);
  py::class_<Hold>(m, "Hold").def(py::init<int, int64_t>(), no_gil).def("release", &Hold::release);
  py::class_<Scope<Capture>>(m, "Capture")
      .def(py::init([](int device, int64_t stream) {
        return std::make_unique<Scope<Capture>>(
            make_stream(static_cast<DeviceIndex>(device), stream));
      }))
      .def("end", &Scope<Capture>::end);
  bind_disturbances(m);
  bind_timing(m);
  bind_races(m);
  m.def("set_memory_pressure_callback", &set_memory_pressure_callback);
  m.def("renew_autograd_engine", &renew_autograd_engine);
  m.def("forked", [] { return phase() == Phase::forked; });
  m.def("rng_state", &rng_state);
  m.def("set_rng_state", &set_rng_state);
}

}  // namespace storm::sim
