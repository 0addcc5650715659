#include "transfer/bit_copy.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/TensorOptions.h>

#include <cstring>

#include "base/below_user.h"
#include "base/check.h"
#include "codec/bool_bits.h"
#include "codec/bool_ops.h"
#include "transfer/copy.h"

namespace storm {
namespace {

// Memory of the current stream: who frees it here and now, frees it in that stream's order.
at::Tensor bits_for(const at::Tensor& bools) {
  const auto bytes = static_cast<size_t>(codec::bool_wire_bytes(bools.numel()));
  auto* allocator = c10::GetAllocator(bools.device().type());
  auto bits = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(c10::Storage::use_byte_size_t(), bytes, allocator->allocate(bytes), allocator),
      c10::DispatchKeySet(c10::computeDispatchKey(at::kByte, at::kStrided, bools.device())),
      caffe2::TypeMeta::Make<uint8_t>());
  bits.unsafeGetTensorImpl()->set_sizes_contiguous(static_cast<int64_t>(bytes));
  return bits;
}

// The last word of the buffer. No piece ends inside it: all but the last end at a granule.
std::byte* stray_word(const PinnedMemoryBuffer& host) {
  const auto& last = host.pieces().back();
  STORM_INVARIANT(last.bytes >= sizeof(uint64_t), "a piece of ", last.bytes, " bytes.");
  return last.data + last.bytes - sizeof(uint64_t);
}

}  // namespace

size_t wire_bytes(Wire wire, size_t bytes) {
  return wire == Wire::raw
             ? bytes
             : static_cast<size_t>(codec::bool_wire_bytes(static_cast<int64_t>(bytes)));
}

BitsSent bits_to_host(const at::Tensor& device_bytes, const PinnedMemoryBuffer& host,
                      const c10::Stream& stream, Event::Timing timing) {
  BelowUser below;
  c10::StreamGuard guard(stream);
  const auto bits = bits_for(device_bytes);
  // Where memory has no contents (the simulator's ghost memory) nothing arrives: that is exact.
  std::memset(stray_word(host), 0, sizeof(uint64_t));
  codec::pack_bool(device_bytes, bits);
  auto packed = std::make_shared<const Event>(Event::record(stream, timing));
  return {std::move(packed), copy_to_host(bits, host, stream, timing)};
}

EventRef bits_to_device(const PinnedMemoryBuffer& host, const at::Tensor& device_bytes,
                        const c10::Stream& stream, Event::Timing timing) {
  BelowUser below;
  c10::StreamGuard guard(stream);
  const auto bits = bits_for(device_bytes);
  copy_to_device(host, bits, stream, Event::Timing::no);
  codec::unpack_bool(bits, device_bytes);
  return std::make_shared<const Event>(Event::record(stream, timing));
}

bool bits_are_exact(const PinnedMemoryBuffer& host) {
  uint64_t stray = 0;
  std::memcpy(&stray, stray_word(host), sizeof stray);
  return stray == 0;
}

}  // namespace storm
