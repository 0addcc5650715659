#include "engine/geometry.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "base/below_user.h"
#include "base/bytes.h"
#include "base/check.h"

namespace storm {
namespace {
constexpr size_t kGranule =
    512;  // device allocators align to this: addresses keep their value modulo it
}

ByteRange touched_bytes(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return {};
  int64_t last = 0;
  const auto sizes = tensor.sizes();
  const auto strides = tensor.strides();
  for (size_t i = 0; i < sizes.size(); ++i) last += (sizes[i] - 1) * strides[i];
  const size_t item = tensor.element_size();
  const size_t begin = tensor.storage_offset() * item;
  return {begin, begin + (last + 1) * item};
}

ByteRange moved_bytes(const c10::Storage& storage, ByteRange own) {
  const size_t whole = storage.nbytes();
  if (own.bytes() * 2 > whole) return {0, whole};
  return {round_down(own.begin, kGranule), std::min(round_up(own.end, kGranule), whole)};
}

bool fits_bits(const at::Tensor& tensor, ByteRange range) {
  if (tensor.scalar_type() != at::kBool || range.bytes() == 0 ||
      range != ByteRange{0, tensor.storage().nbytes()})
    return false;
  if (tensor.storage_offset() != 0) return false;
  // Expanded dimensions visit the same bytes again; the others must visit each once.
  c10::SmallVector<std::pair<int64_t, int64_t>, 5> dims;  // stride and size
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    if (tensor.stride(i) != 0 && tensor.size(i) != 1)
      dims.emplace_back(tensor.stride(i), tensor.size(i));
  }
  std::sort(dims.begin(), dims.end());
  int64_t visited = 1;
  for (const auto& [stride, size] : dims) {
    if (stride != visited) return false;
    visited *= size;
  }
  return visited == static_cast<int64_t>(range.bytes());
}

at::Tensor bytes_of(const c10::Storage& storage, ByteRange range) {
  BelowUser below;
  auto bytes = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage),
      c10::DispatchKeySet(c10::computeDispatchKey(at::kByte, at::kStrided, storage.device())),
      caffe2::TypeMeta::Make<uint8_t>());
  const int64_t sizes[] = {static_cast<int64_t>(range.bytes())};
  const int64_t strides[] = {1};
  bytes.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides,
                                                     static_cast<int64_t>(range.begin));
  return bytes;
}

Geometry::Geometry(const at::Tensor& tensor)
    : sizes_(tensor.sizes()),
      strides_(tensor.strides()),
      byte_offset_(tensor.storage_offset() * tensor.element_size()),
      dtype_(tensor.dtype()),
      conj_(tensor.is_conj()),
      neg_(tensor.is_neg()) {}

at::Tensor Geometry::over(const c10::Storage& storage, size_t range_begin) const {
  BelowUser below;
  const size_t offset = byte_offset_ - range_begin;
  STORM_INVARIANT(offset % dtype_.itemsize() == 0, "byte offset ", offset, " for items of ",
                  dtype_.itemsize(), ".");
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage),
      c10::DispatchKeySet(c10::computeDispatchKey(c10::typeMetaToScalarType(dtype_), at::kStrided,
                                                  storage.device())),
      dtype_);
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(
      sizes_, strides_, static_cast<int64_t>(offset / dtype_.itemsize()));
  if (conj_) tensor._set_conj(true);
  if (neg_) tensor._set_neg(true);
  return tensor;
}

}  // namespace storm
