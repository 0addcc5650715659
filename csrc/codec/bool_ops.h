#pragma once
#include <ATen/core/Tensor.h>

namespace storm::codec {

// pamiq_storm::pack_bool and unpack_bool, see Note [Bools as bits]. They run where the tensors are,
// in the current stream's order, and do not synchronise.
void pack_bool(const at::Tensor& bools, const at::Tensor& wire);
void unpack_bool(const at::Tensor& wire, const at::Tensor& bools);

// What every kernel asks of its arguments: contiguous bools or bytes, and a wire of their size on
// the same device, whose memory is a multiple of 8. Throws ValueError.
void check_bools(const at::Tensor& bools, const at::Tensor& wire);

}  // namespace storm::codec
