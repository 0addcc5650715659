#include <torch/csrc/utils/pybind.h>

#include "publish/publisher.h"
#include "publish/streams.h"
#include "python/bindings.h"
#include "python/module_record.h"

namespace py = pybind11;

namespace storm::python {
namespace {

using Released = py::call_guard<py::gil_scoped_release>;

// Objects that hold others take part in Python's search for cycles.
template <typename T>
void collectable(PyHeapTypeObject* heap_type) {
  auto* type = &heap_type->ht_type;
  type->tp_flags |= Py_TPFLAGS_HAVE_GC;
  type->tp_traverse = [](PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    if (!py::detail::is_holder_constructed(self)) return 0;
    return py::cast<const T&>(py::handle(self)).traverse(visit, arg);
  };
  type->tp_clear = [](PyObject* self) {
    if (py::detail::is_holder_constructed(self)) py::cast<T&>(py::handle(self)).clear();
    return 0;
  };
}

void bind_records(py::module_& m) {
  py::class_<ModuleRecord>(m, "ModuleRecord", py::custom_type_setup(&collectable<ModuleRecord>))
      .def(py::init<const std::vector<py::object>&>(), py::arg("modules"))
      .def(
          "look",
          [](ModuleRecord& record) {
            auto changes = record.look();
            return std::tuple(!changes.structure, std::move(changes.attributes),
                              std::move(changes.hooks));
          },
          "Whether the structure is the same, the plain attributes that are not, and the modules "
          "whose forward hooks are not.");
  py::class_<ReferenceCounts>(m, "ReferenceCounts",
                              py::custom_type_setup(&collectable<ReferenceCounts>))
      .def(py::init<std::vector<py::object>>(), py::arg("objects"))
      .def("settle", &ReferenceCounts::settle)
      .def("unreferenced", &ReferenceCounts::unreferenced);
}

void bind_publisher(py::module_& m) {
  py::class_<Publisher, std::shared_ptr<Publisher>> publisher(m, "Publisher");
  py::enum_<Publisher::Mode>(publisher, "Mode")
      .value("swap", Publisher::Mode::swap)
      .value("copy", Publisher::Mode::copy);
  publisher.def(py::init<Publisher::Mode>(), py::arg("mode"))
      .def("start", &Publisher::start, py::arg("first"), Released())
      .def("publish", &Publisher::publish, py::arg("next"), py::arg("free"), Released())
      .def("pin", &Publisher::pin)
      .def("unpin", &Publisher::unpin, py::arg("snapshot"))
      .def("collect", &Publisher::collect)
      .def("if_free", &Publisher::if_free)
      .def("abandon", &Publisher::abandon, py::arg("snapshot"))
      .def("check_invariants", &Publisher::check_invariants)
      .def_property_readonly("current", &Publisher::current)
      .def_property_readonly("version", &Publisher::version)
      .def_property_readonly("bytes", &Publisher::bytes)
      .def_property_readonly("peak_bytes", &Publisher::peak_bytes)
      .def_property_readonly("copied_bytes", &Publisher::copied_bytes);
}

}  // namespace

void bind_publish(py::module_& m) {
  py::class_<ModelLayout, std::shared_ptr<ModelLayout>>(m, "ModelLayout")
      .def(py::init<std::vector<at::Tensor>>(), py::arg("live"))
      .def("blanks",
           [](const ModelLayout& layout) {  // None for opaque tensors
             py::list blanks;
             for (auto& blank : layout.blanks())
               blanks.append(blank.defined() ? py::cast(blank) : py::none());
             return blanks;
           })
      .def_property_readonly("device",
                             [](const ModelLayout& layout) {
                               return layout.accelerator().value_or(c10::Device(c10::kCPU));
                             })
      .def_property_readonly("bytes", &ModelLayout::bytes);
  py::class_<Snapshot, std::shared_ptr<Snapshot>>(m, "Snapshot")
      .def(py::init([](std::shared_ptr<ModelLayout> layout, std::vector<at::Tensor> served) {
             return std::make_shared<Snapshot>(std::move(layout), std::move(served));
           }),
           py::arg("layout"), py::arg("served"))
      .def("fits", &Snapshot::fits)
      .def("settle", &Snapshot::settle)
      .def("unreferenced", &Snapshot::unreferenced)
      .def("renew", &Snapshot::renew)
      .def("release", &Snapshot::release, Released())
      .def("unused", &Snapshot::unused)
      .def_property_readonly("readers", &Snapshot::readers)
      .def_property_readonly("version", &Snapshot::version)
      .def_property_readonly("bytes", &Snapshot::bytes);
  bind_publisher(m);
  bind_records(m);
  m.def(
      "publish_streams",
      [](c10::Device device) {
        const auto streams = PublishStreams::of(device);
        return std::pair<c10::Stream, c10::Stream>(streams.inference(), streams.publication());
      },
      py::arg("device"), "The streams that inference and publication use.");
}

}  // namespace storm::python
