#pragma once
#include <c10/core/Device.h>

#include <memory>

#include "host/memory_source.h"

namespace storm {

// What a vendor offers for memory that it did not allocate: to make it reachable for a device's
// copy engines, and to take that back. See transfer/device_extras.h.
class HostRegistrar {
 public:
  virtual ~HostRegistrar() = default;
  // Throws c10::Error with the driver's reason. May synchronise, as any pinning may.
  virtual void pin(void* begin, size_t bytes, c10::Device device) const = 0;
  virtual void unpin(void* begin, c10::Device device) const noexcept = 0;
};

// Slabs of our own, registered for one device: pages straight from the kernel, huge ones where they
// help, given back to it when freed. (torch's allocator rounds to a power of two and keeps what is
// freed.) Where registering fails, `otherwise` is asked.
class RegisteredHostMemory final : public HostMemorySource {
 public:
  // `registrar` lives as long as the process.
  RegisteredHostMemory(const HostRegistrar& registrar, c10::Device device,
                       std::shared_ptr<HostMemorySource> otherwise);
  at::DataPtr allocate_pinned(size_t bytes) override;
  at::DataPtr allocate_pageable(size_t bytes) override;

 private:
  at::DataPtr registered(size_t bytes) const;

  const HostRegistrar& registrar_;
  const c10::Device device_;
  const std::shared_ptr<HostMemorySource> otherwise_;
};

}  // namespace storm
