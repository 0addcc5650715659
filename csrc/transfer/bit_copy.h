#pragma once
#include <ATen/core/Tensor.h>

#include "base/event.h"
#include "host/pinned_pool.h"

namespace storm {

// How bytes travel between device and host.
enum class Wire : uint8_t {
  raw,
  bits,  // bools, packed; see Note [Bools as bits]
};
size_t wire_bytes(Wire wire, size_t bytes);

// As copy_to_host and copy_to_device, of bools as bits: an eighth of the bytes crosses the link.
// The bits lie on the device for a moment, in memory of `stream`'s own: may throw
// OutOfMemoryError, and has queued nothing then. None of them synchronises.
struct BitsSent {
  EventRef packed;  // behind it the device bytes are read
  EventRef copied;  // behind it the host has the bits
};
BitsSent bits_to_host(const at::Tensor& device_bytes, const PinnedMemoryBuffer& host,
                      const c10::Stream& stream, Event::Timing timing);
EventRef bits_to_device(const PinnedMemoryBuffer& host, const at::Tensor& device_bytes,
                        const c10::Stream& stream, Event::Timing timing);

// Whether the bits in `host` are the whole truth: each byte was 0 or 1. Ask when `copied` is done.
bool bits_are_exact(const PinnedMemoryBuffer& host);

}  // namespace storm
