#include "host/memory_source.h"

#include <ATen/core/CachingHostAllocator.h>
#include <c10/core/CPUAllocator.h>

namespace storm {

at::DataPtr TorchHostMemory::allocate_pinned(size_t bytes) {
  return at::getHostAllocator(device_type_)->allocate(bytes);
}

at::DataPtr TorchHostMemory::allocate_pageable(size_t bytes) {
  return c10::GetCPUAllocator()->allocate(bytes);
}

}  // namespace storm
