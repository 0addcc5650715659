#include "python/sentinel.h"

#include <torch/csrc/Exceptions.h>
#include <torch/csrc/PyInterpreter.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include "autograd/hook_dispatch.h"
#include "autograd/offload_hook.h"
#include "base/blocking_region.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace storm::python {
namespace {

PyTypeObject* type = nullptr;  // immortal once made

Sentinel* as_sentinel(PyObject* object) {
  return reinterpret_cast<Sentinel*>(object);
}

PyObject* call(PyObject* self, PyObject* args, PyObject*) {
  HANDLE_TH_ERRORS
  PyObject* argument = nullptr;
  if (!PyArg_ParseTuple(args, "O", &argument)) return nullptr;
  if (as_sentinel(self)->packs) {
    auto& context = **as_sentinel(self)->context;
    at::Tensor tensor = THPVariable_Unpack(argument);
    std::shared_ptr<SavedTensor> saved;
    {
      py::gil_scoped_release release;
      saved = std::make_shared<SavedTensor>(context.save(tensor));
    }
    return py::cast(std::move(saved)).release().ptr();
  }
  auto saved = py::cast<std::shared_ptr<SavedTensor>>(py::handle(argument));
  at::Tensor tensor;
  {
    py::gil_scoped_release release;
    tensor = saved->fetch();
  }
  return THPVariable_Wrap(std::move(tensor));
  END_HANDLE_TH_ERRORS
}

void deallocate(PyObject* self) {
  auto* heap_type = Py_TYPE(self);
  delete as_sentinel(self)->context;
  heap_type->tp_free(self);
  Py_DECREF(heap_type);
}

// Called without the GIL: reads the type pointer of an object that torch's stack keeps alive, and
// no counts.
const std::shared_ptr<OffloadContext>* context_of(const c10::SafePyObject& pack_hook) noexcept {
  PyObject* object = pack_hook.ptr(&pack_hook.pyinterpreter());
  return Py_TYPE(object) == type ? as_sentinel(object)->context : nullptr;
}

std::pair<c10::SafePyObject, c10::SafePyObject> python_view(
    const std::shared_ptr<SavedTensor>& saved) {
  py::gil_scoped_acquire gil;
  auto* interpreter = getPyInterpreter();
  PyObject* unpack = new_sentinel(nullptr, /*packs=*/false);
  if (unpack == nullptr) throw py::error_already_set();
  return {c10::SafePyObject(unpack, interpreter),
          c10::SafePyObject(py::cast(saved).release().ptr(), interpreter)};
}

// Reads a type pointer of an object that its tensor keeps alive, and no counts.
bool is_plain(const at::TensorBase& tensor) noexcept {
  const PyObject* object = tensor.unsafeGetTensorImpl()->pyobj_slot()->load_pyobj();
  if (object == nullptr) return true;
  const auto* cls = reinterpret_cast<const PyObject*>(Py_TYPE(object));
  return cls == THPVariableClass || cls == ParameterClass;
}

void* release_gil() noexcept {
  return PyGILState_Check() ? PyEval_SaveThread() : nullptr;
}
void retake_gil(void* state) noexcept {
  PyEval_RestoreThread(static_cast<PyThreadState*>(state));
}

}  // namespace

PyObject* sentinel_type() {
  static PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(&call)},
                                {Py_tp_dealloc, reinterpret_cast<void*>(&deallocate)},
                                {0, nullptr}};
  static PyType_Spec spec = {
      "pamiq_storm._C.Sentinel", sizeof(Sentinel), 0,
      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  if (type == nullptr) type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  return reinterpret_cast<PyObject*>(type);
}

PyObject* new_sentinel(std::shared_ptr<OffloadContext> context, bool packs) {
  PyObject* object = type->tp_alloc(type, 0);
  if (object == nullptr) return nullptr;
  as_sentinel(object)->context = new std::shared_ptr<OffloadContext>(std::move(context));
  as_sentinel(object)->packs = packs;
  return object;
}

void bind_sentinel(py::module_& m) {
  m.attr("Sentinel") = py::reinterpret_borrow<py::object>(sentinel_type());
  m.def(
      "hook_pair",
      [](const std::shared_ptr<OffloadContext>& context) {
        ensure_hook_dispatch();  // where it cannot be installed, torch calls the pair
        return py::make_tuple(
            py::reinterpret_steal<py::object>(new_sentinel(context, /*packs=*/true)),
            py::reinterpret_steal<py::object>(new_sentinel(context, /*packs=*/false)));
      },
      py::arg("context"),
      "The (pack, unpack) pair that stands for `context` on torch's saved-tensor hook stack.");
  m.def("ensure_hook_dispatch", &ensure_hook_dispatch,
        "Answer saved-tensor hooks in C++ from now on. False where this torch does not allow it.");
  m.def("after_fork_in_child", &hook_dispatch_after_fork);
  set_sentinel_lookup(&context_of);
  KeepRules::set_plain_object(&is_plain);
  OffloadHook::set_python_view(&python_view);
  BlockingRegion::set_callbacks(&release_gil, &retake_gil);
}

}  // namespace storm::python
