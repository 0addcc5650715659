#include "transfer/copy.h"

#include <c10/core/StreamGuard.h>

#include <algorithm>
#include <optional>

#include "base/below_user.h"
#include "base/blocking_region.h"
#include "base/check.h"
#include "transfer/device_extras.h"

namespace storm {
namespace {

// What at::from_blob makes, without its questions.
at::Tensor host_bytes(const HostPiece& piece, int64_t bytes) {
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(c10::Storage::use_byte_size_t(), static_cast<size_t>(bytes),
                   c10::DataPtr(piece.data, c10::Device(c10::DeviceType::CPU))),
      c10::DispatchKeySet(c10::DispatchKey::CPU), caffe2::TypeMeta::Make<uint8_t>());
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(bytes);
  return tensor;
}

enum class Direction { to_host, to_device };

// The pieces in one call, where the vendor has one.
bool copied_at_once(const at::Tensor& device_bytes, const PinnedMemoryBuffer& host,
                    const c10::Stream& stream, Direction direction) {
  const auto* extras = device_extras(stream.device_type());
  if (extras == nullptr || !host.pinned() || host.pieces().size() == 1) return false;
  c10::SmallVector<CopySpan, 16> spans;
  auto* device = static_cast<std::byte*>(device_bytes.mutable_data_ptr());
  auto rest = static_cast<size_t>(device_bytes.numel());
  for (const auto& piece : host.pieces()) {
    const size_t here = std::min(rest, piece.bytes);
    if (here == 0) break;
    spans.push_back(direction == Direction::to_host ? CopySpan{piece.data, device, here}
                                                    : CopySpan{device, piece.data, here});
    device += here;
    rest -= here;
  }
  return extras->copy_batch(spans, stream);
}

// Calls `copy` for the part of the device's bytes that belongs to each piece of the buffer.
template <typename Copy>
EventRef by_pieces(const at::Tensor& device_bytes, const PinnedMemoryBuffer& host,
                   const c10::Stream& stream, Event::Timing timing, Direction direction,
                   Copy&& copy) {
  const int64_t bytes = device_bytes.numel();
  STORM_INVARIANT(static_cast<size_t>(bytes) <= host.bytes(), bytes, " bytes into a buffer of ",
                  host.bytes(), ".");
  BelowUser below;
  c10::StreamGuard guard(stream);
  std::optional<BlockingRegion> blocking;
  if (!host.pinned()) blocking.emplace();
  if (copied_at_once(device_bytes, host, stream, direction))
    return std::make_shared<const Event>(Event::record(stream, timing));
  int64_t begin = 0;
  for (const auto& piece : host.pieces()) {
    const int64_t here = std::min(bytes - begin, static_cast<int64_t>(piece.bytes));
    if (here <= 0) break;
    copy(here == bytes ? device_bytes : device_bytes.narrow(0, begin, here),
         host_bytes(piece, here));
    begin += here;
  }
  return std::make_shared<const Event>(Event::record(stream, timing));
}

}  // namespace

EventRef copy_to_host(const at::Tensor& device_bytes, const PinnedMemoryBuffer& host,
                      const c10::Stream& stream, Event::Timing timing) {
  return by_pieces(device_bytes, host, stream, timing, Direction::to_host,
                   [&](const at::Tensor& part, const at::Tensor& at) {
                     at.copy_(part, /*non_blocking=*/host.pinned());
                   });
}

EventRef copy_to_device(const PinnedMemoryBuffer& host, const at::Tensor& device_bytes,
                        const c10::Stream& stream, Event::Timing timing) {
  return by_pieces(device_bytes, host, stream, timing, Direction::to_device,
                   [&](const at::Tensor& part, const at::Tensor& at) {
                     part.copy_(at, /*non_blocking=*/host.pinned());
                   });
}

}  // namespace storm
