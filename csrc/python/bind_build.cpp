#include <c10/core/DeviceType.h>
#include <torch/csrc/utils/pybind.h>
#include <torch/version.h>

#include "python/bindings.h"
#include "transfer/device_extras.h"

namespace py = pybind11;

namespace storm::python {
namespace {

py::dict build_info() {
  using namespace py::literals;
  const auto* cuda = device_extras(c10::DeviceType::CUDA);
  const auto vendor = cuda ? cuda->built_with() : VendorBuild();
  return py::dict("torch"_a = TORCH_VERSION, "toolkit"_a = vendor.toolkit,
                  "architectures"_a = vendor.architectures);
}

}  // namespace

void bind_build(py::module_& m) {
  m.def("build_info", &build_info,
        "What this was compiled with: torch, and a vendor's toolkit and architectures, if any.");
}

}  // namespace storm::python
