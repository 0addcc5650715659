#include "publish/copy_storages.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_foreach_copy.h>
#include <c10/core/TensorOptions.h>

#include <algorithm>
#include <cstring>

#include "base/below_user.h"

namespace storm {
namespace {

constexpr int64_t kGrain = int64_t{1} << 18;  // bytes worth waking a thread for

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
  std::vector<size_t> ends;  // where each span ends if all lay in a row
  ends.reserve(spans.size());
  size_t total = 0;
  for (const auto& span : spans) ends.push_back(total += span.bytes);
  at::parallel_for(0, static_cast<int64_t>(total), kGrain, [&](int64_t first, int64_t last) {
    size_t at = static_cast<size_t>(first);
    const auto stop = static_cast<size_t>(last);
    auto end = std::upper_bound(ends.begin(), ends.end(), at);
    for (; at < stop; ++end) {
      const auto& span = spans[static_cast<size_t>(end - ends.begin())];
      const size_t offset = at - (*end - span.bytes);
      const size_t here = std::min(*end, stop) - at;
      std::memcpy(static_cast<char*>(span.to) + offset,
                  static_cast<const char*>(span.from) + offset, here);
      at += here;
    }
  });
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
