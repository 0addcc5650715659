// Operations about memory and shapes: allocation, views, copies, fills, scalars.
#include <ATen/EmptyTensor.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_local_scalar_dense_native.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_cpu_dispatch.h>
#include <ATen/ops/set_cpu_dispatch.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <torch/library.h>

#include "sim/copy.h"
#include "sim/device_allocator.h"
#include "sim/geometry.h"
#include "sim/host_view.h"
#include "sim/launch.h"

namespace storm::sim {
namespace {

using at::Tensor;
using c10::IntArrayRef;
using c10::SymIntArrayRef;

constexpr c10::DispatchKeySet kKeys(kDispatchKey);

DeviceIndex target(const std::optional<c10::Device>& device) {
  return device && device->has_index() ? device->index() : current_device();
}

void refuse_pinned(const std::optional<bool>& pin_memory) {
  TORCH_CHECK(!pin_memory.value_or(false), "sim: only CPU tensors can be pinned");
}

Tensor empty(IntArrayRef size, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout>,
             std::optional<c10::Device> device, std::optional<bool> pin_memory,
             std::optional<c10::MemoryFormat> format) {
  refuse_pinned(pin_memory);
  CurrentDevice guard(target(device));
  return at::detail::empty_generic(size, &DeviceAllocator::instance(), kKeys,
                                   c10::dtype_or_default(dtype), format);
}

Tensor empty_strided(IntArrayRef size, IntArrayRef stride, std::optional<c10::ScalarType> dtype,
                     std::optional<c10::Layout>, std::optional<c10::Device> device,
                     std::optional<bool> pin_memory) {
  refuse_pinned(pin_memory);
  CurrentDevice guard(target(device));
  return at::detail::empty_strided_generic(size, stride, &DeviceAllocator::instance(), kKeys,
                                           c10::dtype_or_default(dtype));
}

Tensor as_strided(const Tensor& self, SymIntArrayRef size, SymIntArrayRef stride,
                  std::optional<c10::SymInt> offset) {
  return at::cpu::as_strided_symint(self, size, stride, offset);
}

Tensor view(const Tensor& self, SymIntArrayRef size) {
  return at::native::view(self, C10_AS_INTARRAYREF_SLOW(size));
}

Tensor reshape_alias(const Tensor& self, SymIntArrayRef size, SymIntArrayRef stride) {
  return at::native::_reshape_alias(self, C10_AS_INTARRAYREF_SLOW(size),
                                    C10_AS_INTARRAYREF_SLOW(stride));
}

Tensor unfold(const Tensor& self, int64_t dim, int64_t size, int64_t step) {
  return at::native::unfold(self, dim, size, step);
}

Tensor view_as_real(const Tensor& self) {
  return at::native::view_as_real(self);
}
Tensor view_as_complex(const Tensor& self) {
  return at::native::view_as_complex(self);
}

// torch's own resize_ for CPU would copy at once, before the stream has written the old contents.
void grow(const c10::Storage& storage, size_t bytes) {
  if (bytes > storage.nbytes()) at::native::resize_bytes_nocuda(storage, bytes);
}

const Tensor& resize_(const Tensor& self, SymIntArrayRef symbolic_size,
                      std::optional<c10::MemoryFormat> format) {
  const auto size = C10_AS_INTARRAYREF_SLOW(symbolic_size);
  auto* impl = self.unsafeGetTensorImpl();
  const auto offset = static_cast<size_t>(impl->storage_offset());
  grow(self.storage(), at::detail::computeStorageNbytesContiguous(size, impl->itemsize(), offset));
  impl->set_sizes_contiguous(size);
  if (format && *format != c10::MemoryFormat::Preserve) impl->empty_tensor_restride(*format);
  return self;
}

Tensor& set_tensor(Tensor& self, const Tensor& source) {
  return at::native::set_tensor_(self, source);
}
Tensor& set_storage(Tensor& self, at::Storage source) {
  return at::native::set_(self, source);
}
Tensor& set_geometry(Tensor& self, at::Storage source, int64_t offset, IntArrayRef size,
                     IntArrayRef stride) {
  const auto item = self.unsafeGetTensorImpl()->itemsize();
  const auto first = static_cast<size_t>(offset);
  grow(source, stride.empty() ? at::detail::computeStorageNbytesContiguous(size, item, first)
                              : at::detail::computeStorageNbytes(size, stride, item, first));
  return at::cpu::set_(self, source, offset, size, stride);
}

Tensor copy_from(const Tensor& self, const Tensor& dst, bool non_blocking) {
  copy_tensor(self, dst, non_blocking);
  return dst;
}

Tensor copy_from_and_resize(const Tensor& self, const Tensor& dst) {
  dst.resize_(self.sizes());
  copy_tensor(self, dst, /*non_blocking=*/false);
  return dst;
}

// Ghost memory has no values: the host goes on with one that a program most likely goes on with,
// too.
at::Scalar stand_in_for_value(c10::ScalarType dtype) {
  if (dtype == at::kBool) return false;
  return at::isIntegralType(dtype, /*includeBool=*/false) ? at::Scalar(int64_t{1})
                                                          : at::Scalar(1.0);
}

at::Scalar local_scalar_dense(const Tensor& self) {
  CurrentDevice guard(self.device().index());
  at::Scalar value = stand_in_for_value(self.scalar_type());
  Effects effects;
  effects.reads(self, "self");
  launch_and_wait(
      "aten::_local_scalar_dense", effects, Work::link(/*d2h=*/true, 8, /*pinned=*/true),
      [&value, view = host_view(self)] { value = at::native::_local_scalar_dense_cpu(view); });
  return value;
}

Tensor& fill_scalar(Tensor& self, const at::Scalar& value) {
  CurrentDevice guard(self.device().index());
  launch("aten::fill_.Scalar", Effects().writes(self, "self"),
         [value, view = host_view(self)] { view.fill_(value); });
  return self;
}

Tensor& zero_(Tensor& self) {
  CurrentDevice guard(self.device().index());
  launch("aten::zero_", Effects().writes(self, "self"), [view = host_view(self)] { view.zero_(); });
  return self;
}

void record_stream(Tensor& self, c10::Stream stream) {
  DeviceAllocator::instance().recordStream(self.storage().data_ptr(), stream);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("as_strided", as_strided);
  m.impl("view", view);
  m.impl("_reshape_alias", reshape_alias);
  m.impl("unfold", unfold);
  m.impl("view_as_real", view_as_real);
  m.impl("view_as_complex", view_as_complex);
  m.impl("resize_", resize_);
  m.impl("set_.source_Tensor", set_tensor);
  m.impl("set_.source_Storage", set_storage);
  m.impl("set_.source_Storage_storage_offset", set_geometry);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", local_scalar_dense);
  m.impl("fill_.Scalar", fill_scalar);
  m.impl("zero_", zero_);
  m.impl("record_stream", record_stream);
}

// copy_tensor resolves lazy conjugation and negation itself; torch's way of resolving them is a
// copy.
TORCH_LIBRARY_IMPL(aten, Conjugate, m) {
  m.impl("_copy_from", torch::CppFunction::makeFallthrough());
}
TORCH_LIBRARY_IMPL(aten, Negative, m) {
  m.impl("_copy_from", torch::CppFunction::makeFallthrough());
}

}  // namespace

Tensor empty_on_device(const Geometry& geometry) {
  if (!geometry.defined) return {};
  return at::detail::empty_strided_generic(geometry.sizes, geometry.strides,
                                           &DeviceAllocator::instance(), kKeys, geometry.dtype);
}

}  // namespace storm::sim
