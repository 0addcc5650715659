// torch's caching allocator hands blocks out again without the runtime's knowledge. It tells
// whoever traces it; from that the race detector learns who owns what, and freed blocks are
// poisoned.
#pragma once

#include "sim/event.h"
#include "sim/races/knowledge.h"

namespace cuda_double {

void watch_allocator();  // once, when torch has its allocators

// torch's allocator records an event on each foreign stream of a block while it frees it. True if
// this is such a record; `known` then is when the block is no longer in use there.
bool is_recorded_by_allocator(storm::sim::StreamName stream, const storm::sim::Moment& known);
// The calling thread does something else.
void no_block_is_being_freed() noexcept;

}  // namespace cuda_double
