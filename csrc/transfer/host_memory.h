#pragma once
#include <c10/core/Device.h>

#include <memory>

#include "host/memory_source.h"

namespace storm {

// Where slabs for copies from and to `device` come from: pages that its vendor registers where it
// can, else torch's pinned allocator.
std::shared_ptr<HostMemorySource> host_memory_of(c10::Device device);

}  // namespace storm
