#include "codec/bool_ops.h"

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "codec/bool_bits.h"

namespace storm::codec {
namespace {

using Kernel = void(const at::Tensor&, const at::Tensor&);

bool is_bytes(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kByte && tensor.is_contiguous();
}

void pack_on_cpu(const at::Tensor& bools, const at::Tensor& wire) {
  check_bools(bools, wire);
  auto* bits = static_cast<uint8_t*>(wire.mutable_data_ptr());
  const uint64_t stray = pack_lanes</*kAligned=*/false>(
      static_cast<const uint8_t*>(bools.const_data_ptr()), bools.numel(), bits, 0, 1);
  std::memcpy(bits + stray_word_at(bools.numel()), &stray, sizeof stray);
}

void unpack_on_cpu(const at::Tensor& wire, const at::Tensor& bools) {
  check_bools(bools, wire);
  unpack_lanes</*kAligned=*/false>(static_cast<const uint8_t*>(wire.const_data_ptr()),
                                   bools.numel(), static_cast<uint8_t*>(bools.mutable_data_ptr()),
                                   0, 1);
}

// Nothing new has a shape to find out.
void without_values(const at::Tensor&, const at::Tensor&) {}

}  // namespace

void check_bools(const at::Tensor& bools, const at::Tensor& wire) {
  TORCH_CHECK_VALUE((bools.scalar_type() == at::kBool && bools.is_contiguous()) || is_bytes(bools),
                    "bools are packed from and unpacked to contiguous memory of torch.bool or "
                    "torch.uint8, got ",
                    bools.toString(), " of strides ", bools.strides());
  TORCH_CHECK_VALUE(is_bytes(wire) && wire.numel() == bool_wire_bytes(bools.numel()), "for ",
                    bools.numel(), " bools the wire has ", bool_wire_bytes(bools.numel()),
                    " contiguous bytes of torch.uint8, got ", wire.numel(), " of ",
                    wire.toString());
  TORCH_CHECK_VALUE(bools.device() == wire.device(), "the bools are on ", bools.device(),
                    " and the wire on ", wire.device());
  TORCH_CHECK_VALUE(reinterpret_cast<uintptr_t>(wire.const_data_ptr()) % 8 == 0,
                    "the wire's memory must begin at a multiple of 8");
}

void pack_bool(const at::Tensor& bools, const at::Tensor& wire) {
  static const auto op =
      c10::Dispatcher::singleton().findSchemaOrThrow("pamiq_storm::pack_bool", "").typed<Kernel>();
  op.call(bools, wire);
}

void unpack_bool(const at::Tensor& wire, const at::Tensor& bools) {
  static const auto op = c10::Dispatcher::singleton()
                             .findSchemaOrThrow("pamiq_storm::unpack_bool", "")
                             .typed<Kernel>();
  op.call(wire, bools);
}

TORCH_LIBRARY_FRAGMENT(pamiq_storm, m) {
  m.def("pack_bool(Tensor bools, Tensor(a!) wire) -> ()", {at::Tag::pt2_compliant_tag});
  m.def("unpack_bool(Tensor wire, Tensor(a!) bools) -> ()", {at::Tag::pt2_compliant_tag});
}

TORCH_LIBRARY_IMPL(pamiq_storm, CPU, m) {
  m.impl("pack_bool", &pack_on_cpu);
  m.impl("unpack_bool", &unpack_on_cpu);
}

TORCH_LIBRARY_IMPL(pamiq_storm, Meta, m) {
  m.impl("pack_bool", &without_values);
  m.impl("unpack_bool", &without_values);
}

}  // namespace storm::codec
