#include "python/bindings.h"

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.doc() = "The engine of pamiq_storm. Use the pamiq_storm package; names here may change.";
  storm::python::bind_build(m);
  storm::python::bind_host(m);
  storm::python::bind_engine(m);
  storm::python::bind_sentinel(m);
  storm::python::bind_nn(m);
  storm::python::bind_trace(m);
  storm::python::bind_publish(m);
}
