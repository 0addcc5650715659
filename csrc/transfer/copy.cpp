#include "transfer/copy.h"

#include <ATen/ops/from_blob.h>
#include <c10/core/StreamGuard.h>

#include "base/below_user.h"
#include "base/blocking_region.h"
#include "base/check.h"

namespace storm {
namespace {

EventRef copy(const at::Tensor& destination, const at::Tensor& source, bool pinned,
              const c10::Stream& stream) {
  BelowUser below;
  c10::StreamGuard guard(stream);
  if (pinned) {
    destination.copy_(source, /*non_blocking=*/true);
  } else {
    BlockingRegion region;
    destination.copy_(source, /*non_blocking=*/false);
  }
  return std::make_shared<const Event>(Event::record(stream));
}

at::Tensor view_of(const PinnedMemoryBuffer& host, int64_t bytes) {
  STORM_INVARIANT(static_cast<size_t>(bytes) <= host.bytes(), bytes, " bytes into a buffer of ",
                  host.bytes(), ".");
  return at::from_blob(host.data(), {bytes}, at::TensorOptions().dtype(at::kByte).device(at::kCPU));
}

}  // namespace

EventRef copy_to_host(const at::Tensor& device_bytes, const PinnedMemoryBuffer& host,
                      const c10::Stream& stream) {
  return copy(view_of(host, device_bytes.numel()), device_bytes, host.pinned(), stream);
}

EventRef copy_to_device(const PinnedMemoryBuffer& host, const at::Tensor& device_bytes,
                        const c10::Stream& stream) {
  return copy(device_bytes, view_of(host, device_bytes.numel()), host.pinned(), stream);
}

}  // namespace storm
