// Pinned host memory: torch's caching host allocator over the simulated driver.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/Stream.h>

namespace storm::sim {

// Blocks are reused only when the events recorded on them at free time have been reached.
c10::Allocator& pinned_allocator();

// Keeps the block at `data` (with DataPtr context `context`) from reuse until `stream` has done
// what is issued there before the block is freed. As on CUDA, an address inside a block is not
// enough.
void record_pinned_use(const void* data, void* context, const c10::Stream& stream);

}  // namespace storm::sim
