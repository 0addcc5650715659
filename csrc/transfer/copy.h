#pragma once
#include <ATen/core/Tensor.h>

#include "base/event.h"
#include "host/pinned_pool.h"

namespace storm {

// Both move the whole of a one-dimensional byte tensor on the device, in `stream`'s order, and
// return the event behind the copy. They do not synchronise when the buffer is pinned; a pageable
// one blocks the host. The caller keeps both sides alive until the event is done.
EventRef copy_to_host(const at::Tensor& device_bytes, const PinnedMemoryBuffer& host,
                      const c10::Stream& stream, Event::Timing timing);
EventRef copy_to_device(const PinnedMemoryBuffer& host, const at::Tensor& device_bytes,
                        const c10::Stream& stream, Event::Timing timing);

}  // namespace storm
