#include "publish/copy_storages.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_copy.h>
#include <c10/core/TensorOptions.h>

#include <cstring>

#include "base/below_user.h"

namespace storm {
namespace {

at::Tensor bytes_of(const void* data, size_t bytes, c10::Device device) {
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(c10::Storage::use_byte_size_t(), bytes,
                   c10::DataPtr(const_cast<void*>(data), device)),
      c10::DispatchKeySet(c10::TensorOptions().device(device).computeDispatchKey()),
      caffe2::TypeMeta::Make<uint8_t>());
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(static_cast<int64_t>(bytes));
  return tensor;
}

}  // namespace

void copy_on_host(const std::vector<CopySpan>& spans) {
  for (const auto& span : spans) std::memcpy(span.to, span.from, span.bytes);
}

void copy_on_device(const std::vector<CopySpan>& spans, c10::Device device) {
  std::vector<at::Tensor> to, from;
  for (const auto& span : spans) {
    if (span.bytes == 0) continue;
    to.push_back(bytes_of(span.to, span.bytes, device));
    from.push_back(bytes_of(span.from, span.bytes, device));
  }
  if (to.empty()) return;
  BelowUser below;
  at::_foreach_copy_(to, from, /*non_blocking=*/true);
}

}  // namespace storm
