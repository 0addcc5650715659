#pragma once
#include <memory>

#include "engine/offload_context.h"

namespace storm {

// The context of `device` for layers outside any `with offload(...)`, with a system of default
// configuration; made at first use. Null where there is nothing to leave: the CPU, and devices
// torch does not count as accelerators.
std::shared_ptr<OffloadContext> default_context(c10::Device device);

// The one for what is about to be computed from `tensor`. Null, which an OffloadScope takes for "no
// change", also when nothing will be saved, when a scope is open on this thread already, and for
// tensors that only trace.
std::shared_ptr<OffloadContext> default_context_for(const at::Tensor& tensor);

// Forgets them, and with them their systems.
void release_default_contexts();

}  // namespace storm
