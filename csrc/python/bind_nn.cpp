#include <torch/csrc/utils/pybind.h>

#include "autograd/default_context.h"
#include "autograd/hook_dispatch.h"
#include "nn/state_dict.h"
#include "nn/storm_trainer.h"
#include "python/bindings.h"

namespace py = pybind11;

namespace storm::python {
namespace {

using Released = py::call_guard<py::gil_scoped_release>;
using OptionalDevice = std::optional<c10::Device>;

// `with DefaultScope(tensor):` what is computed inside from such tensors is saved through the
// default context.
class DefaultScope {
 public:
  explicit DefaultScope(at::Tensor like) : like_(std::move(like)) {}
  void enter() { scope_ = std::make_unique<OffloadScope>(default_context_for(like_)); }
  void exit(const py::args&) { scope_.reset(); }

 private:
  const at::Tensor like_;
  std::unique_ptr<OffloadScope> scope_;
};

void bind_model(py::module_& m) {
  py::class_<StormModel, std::shared_ptr<StormModel>>(m, "StormModel")
      .def(py::init([](int64_t input_size, int64_t hidden_size, int64_t output_size,
                       OptionalDevice device) {
             return std::make_shared<StormModel>(input_size, hidden_size, output_size,
                                                 at::TensorOptions().device(device));
           }),
           py::arg("input_size"), py::arg("hidden_size"), py::arg("output_size"), py::kw_only(),
           py::arg("device") = OptionalDevice(), Released())
      .def("forward", &StormModel::forward, py::arg("input"), Released())
      .def("__call__", &StormModel::forward, py::arg("input"), Released())
      .def("parameters", [](const StormModel& model) { return model.parameters(); })
      .def(
          "state_dict", [](const StormModel& model) { return state_dict(model); },
          "Keys and values of the Python model's state dict; the values share memory with the "
          "parameters.")
      .def(
          "load_state_dict",
          [](StormModel& model, const std::map<std::string, at::Tensor>& state) {
            py::gil_scoped_release release;
            load_state_dict(model, state);
          },
          py::arg("state_dict"));
}

void bind_trainer(py::module_& m) {
  py::class_<StormTrainer>(m, "StormTrainer")
      .def(py::init([](int64_t input_size, int64_t hidden_size, int64_t output_size,
                       double learning_rate, OptionalDevice device) {
             return std::make_unique<StormTrainer>(input_size, hidden_size, output_size,
                                                   learning_rate,
                                                   at::TensorOptions().device(device));
           }),
           py::arg("input_size"), py::arg("hidden_size"), py::arg("output_size"),
           py::arg("learning_rate"), py::kw_only(), py::arg("device") = OptionalDevice(),
           Released())
      .def_property_readonly("model", &StormTrainer::model)
      .def("train_step", &StormTrainer::train_step, py::arg("input"), py::arg("target"),
           Released());
}

}  // namespace

void bind_nn(py::module_& m) {
  bind_model(m);
  bind_trainer(m);
  py::class_<DefaultScope>(m, "DefaultScope")
      .def(py::init<at::Tensor>(), py::arg("like"))
      .def("__enter__", &DefaultScope::enter, Released())
      .def("__exit__", &DefaultScope::exit);
  m.def(
      "default_system",
      [](c10::Device device) {
        auto context = default_context(device);
        return context ? context->system() : nullptr;
      },
      py::arg("device"), Released());
  m.def("release_default_contexts", &release_default_contexts, Released());
}

}  // namespace storm::python
