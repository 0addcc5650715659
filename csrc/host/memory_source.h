#pragma once
#include <c10/core/Allocator.h>
#include <c10/core/DeviceType.h>

namespace storm {

// Where the pool's slabs come from. Tests put a failing or counting double in its place.
class HostMemorySource {
 public:
  virtual ~HostMemorySource() = default;
  // Both throw c10::Error when the memory cannot be had.
  virtual at::DataPtr allocate_pinned(size_t bytes) = 0;
  virtual at::DataPtr allocate_pageable(size_t bytes) = 0;
};

// torch's own allocators: the pinned one of `device_type`, and the CPU's.
class TorchHostMemory final : public HostMemorySource {
 public:
  explicit TorchHostMemory(c10::DeviceType device_type) : device_type_(device_type) {}
  at::DataPtr allocate_pinned(size_t bytes) override;
  at::DataPtr allocate_pageable(size_t bytes) override;

 private:
  c10::DeviceType device_type_;
};

}  // namespace storm
