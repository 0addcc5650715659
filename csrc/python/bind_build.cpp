#include <torch/csrc/utils/pybind.h>
#include <torch/version.h>

#include "base/build_info.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace storm::python {
namespace {

py::dict build_info() {
  using namespace py::literals;
  const auto* vendor = vendor_build();
  return py::dict("torch"_a = TORCH_VERSION, "toolkit"_a = vendor ? vendor->toolkit : std::string(),
                  "architectures"_a = vendor ? vendor->architectures : std::vector<int>());
}

}  // namespace

void bind_build(py::module_& m) {
  m.def("build_info", &build_info,
        "What this was compiled with: torch, and a vendor's toolkit and architectures, if any.");
}

}  // namespace storm::python
