#include "autograd/offload_hook.h"

#include <atomic>

#include "base/check.h"

namespace storm {
namespace {
std::atomic<OffloadHook::PythonView> python_view{nullptr};
}

void OffloadHook::set_python_view(PythonView view) noexcept {
  python_view.store(view);
}

void OffloadHook::call_pack_hook(const at::Tensor& tensor) {
  saved_ = context_->save(tensor);
  context_.reset();
}

at::Tensor OffloadHook::call_unpack_hook() {
  return shared_ ? shared_->fetch() : saved_.fetch();
}

std::optional<std::pair<c10::SafePyObject, c10::SafePyObject>>
OffloadHook::retrieve_unpack_hook_data() const {
  auto view = python_view.load();
  TORCH_CHECK(view != nullptr,
              "compiled autograd needs pamiq_storm's Python layer, which is not loaded");
  if (!shared_) shared_ = std::make_shared<SavedTensor>(std::move(saved_));
  return view(shared_);
}

}  // namespace storm
