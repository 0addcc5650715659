#include "codec/bool_bits.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace storm::python {

void bind_codec(py::module_& m) {
  m.def("bool_wire_bytes", &codec::bool_wire_bytes, py::arg("bools"),
        "The bytes that so many bools are on the wire.");
  m.def("pack_bool_bytes", &codec::pack_bool_bytes, py::arg("bools"),
        "Device memory that packing reads and writes; over the memory's bandwidth, the time to "
        "expect.");
  m.def("unpack_bool_bytes", &codec::unpack_bool_bytes, py::arg("bools"),
        "Device memory that unpacking reads and writes; over the memory's bandwidth, the time to "
        "expect.");
}

}  // namespace storm::python
