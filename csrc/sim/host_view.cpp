#include "sim/host_view.h"

#include <c10/core/StorageImpl.h>
#include <c10/core/TensorImpl.h>

namespace storm::sim {

at::Tensor host_view(const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  auto* impl = tensor.unsafeGetTensorImpl();
  TORCH_CHECK_NOT_IMPLEMENTED(impl->layout() == c10::kStrided,
                              "sim: only strided tensors are supported, got layout ",
                              impl->layout());
  const auto offset = static_cast<size_t>(impl->storage_offset()) * impl->itemsize();
  const size_t bytes = impl->storage().nbytes();
  auto storage = c10::make_intrusive<c10::StorageImpl>(
      c10::StorageImpl::use_byte_size_t(), bytes - std::min(bytes, offset),
      c10::DataPtr(const_cast<void*>(host_address(impl->data())), c10::kCPU), nullptr,
      /*resizable=*/false);
  auto view = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(std::move(storage)), c10::DispatchKeySet(c10::DispatchKey::CPU), impl->dtype());
  view.unsafeGetTensorImpl()->set_sizes_and_strides(impl->sizes(), impl->strides());
  if (tensor.is_conj()) view._set_conj(true);
  if (tensor.is_neg()) view._set_neg(true);
  if (impl->is_wrapped_number()) view.unsafeGetTensorImpl()->set_wrapped_number(true);
  return view;
}

}  // namespace storm::sim
