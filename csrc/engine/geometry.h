#pragma once
#include <ATen/core/Tensor.h>
#include <c10/core/Storage.h>
#include <c10/util/DimVector.h>

namespace storm {

// Bytes [begin, end) of a storage.
struct ByteRange {
  size_t begin = 0, end = 0;
  size_t bytes() const { return end - begin; }
  bool contains(const ByteRange& other) const { return begin <= other.begin && other.end <= end; }
  bool operator==(const ByteRange&) const = default;
};

// The bytes a strided tensor touches, first to last. Empty tensors touch none.
ByteRange touched_bytes(const at::Tensor& tensor);

// The bytes worth moving for a tensor that touches `own`: these, grown to the allocator's granule
// so that alignment survives the trip, and to the whole storage when it touches most of it (its
// siblings are then likely to be saved as well).
ByteRange moved_bytes(const c10::Storage& storage, ByteRange own);

// Whether `range` is the tensor's bools and nothing else, so that bits can say what it holds: the
// whole storage, each byte of it a bool of the tensor's. That the bytes are 0 or 1 only their
// packing finds out.
bool fits_bits(const at::Tensor& tensor, ByteRange range);

// A one-dimensional byte tensor over part of a storage.
at::Tensor bytes_of(const c10::Storage& storage, ByteRange range);

// How one tensor lies in its storage; enough to build it again over other bytes.
class Geometry {
 public:
  explicit Geometry(const at::Tensor& tensor);
  // The tensor over `storage`, whose byte 0 stands for byte `range_begin` of the original storage.
  at::Tensor over(const c10::Storage& storage, size_t range_begin) const;

 private:
  c10::DimVector sizes_, strides_;
  size_t byte_offset_;
  caffe2::TypeMeta dtype_;
  bool conj_, neg_;
};

}  // namespace storm
