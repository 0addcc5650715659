#include "sim/effects.h"

#include <cstdlib>

namespace storm::sim {
namespace {

size_t extent(const c10::TensorImpl& tensor) {
  size_t last = 0;
  for (int64_t d = 0; d < tensor.dim(); ++d) {
    last += static_cast<size_t>(tensor.sizes()[d] - 1) *
            static_cast<size_t>(std::abs(tensor.strides()[d]));
  }
  return (last + 1) * tensor.itemsize();
}

}  // namespace

void Effects::add(const at::Tensor& tensor, bool writes, const char* argument) {
  if (!tensor.defined() || tensor.numel() == 0 || !tensor.has_storage()) return;
  const auto* impl = tensor.unsafeGetTensorImpl();
  touches_.push_back({impl, impl->data(), extent(*impl), writes, argument});
}

Effects& Effects::reads(const at::Tensor& tensor, const char* argument) {
  add(tensor, false, argument);
  return *this;
}

Effects& Effects::reads(const std::optional<at::Tensor>& tensor, const char* argument) {
  if (tensor) add(*tensor, false, argument);
  return *this;
}

Effects& Effects::writes(const at::Tensor& tensor, const char* argument) {
  add(tensor, true, argument);
  return *this;
}

Effects& Effects::reads(const void* begin, size_t bytes) {
  if (bytes > 0) touches_.push_back({nullptr, begin, bytes, false, ""});
  return *this;
}

Effects& Effects::writes(const void* begin, size_t bytes) {
  if (bytes > 0) touches_.push_back({nullptr, begin, bytes, true, ""});
  return *this;
}

}  // namespace storm::sim
