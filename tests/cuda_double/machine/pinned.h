// torch's allocator of pinned memory, with somebody who looks on: it hands blocks out again without
// the runtime's knowledge.
#pragma once

namespace cuda_double {

void watch_pinned_allocator();  // once

// Of the calling thread: what events tell it now is for that allocator alone.
bool inside_pinned_allocator() noexcept;

}  // namespace cuda_double
