#pragma once
#include <torch/csrc/autograd/saved_variable_hooks.h>

#include "engine/offload_context.h"

namespace storm {

// torch's saved-variable hook, in C++: one per saved tensor, without Python and without the GIL.
class OffloadHook final : public torch::autograd::SavedVariableHooks {
 public:
  // How compiled autograd, which works on Python callables, gets at a saved tensor; set by the
  // Python layer.
  using PythonView =
      std::pair<c10::SafePyObject, c10::SafePyObject> (*)(const std::shared_ptr<SavedTensor>&);
  static void set_python_view(PythonView view) noexcept;

  explicit OffloadHook(std::shared_ptr<OffloadContext> context) : context_(std::move(context)) {}
  void call_pack_hook(const at::Tensor& tensor) override;
  at::Tensor call_unpack_hook() override;
  std::optional<std::pair<c10::SafePyObject, c10::SafePyObject>> retrieve_unpack_hook_data()
      const override;

 private:
  std::shared_ptr<OffloadContext> context_;  // until the tensor is saved
  mutable SavedTensor saved_;
  mutable std::shared_ptr<SavedTensor> shared_;  // saved_ moved here once Python shares it
};

}  // namespace storm
