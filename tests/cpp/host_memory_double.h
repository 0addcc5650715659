#pragma once
#include <c10/util/Exception.h>

#include <atomic>
#include <cstdlib>

#include "host/memory_source.h"

// Ordinary memory that counts, and fails when told to.
class HostMemoryDouble final : public storm::HostMemorySource {
 public:
  at::DataPtr allocate_pinned(size_t bytes) override {
    return allocate(bytes, fail_pinned, pinned_slabs);
  }
  at::DataPtr allocate_pageable(size_t bytes) override {
    return allocate(bytes, fail_pageable, pageable_slabs);
  }

  std::atomic<bool> fail_pinned{false}, fail_pageable{false};
  std::atomic<int> pinned_slabs{0}, pageable_slabs{0};

 private:
  static at::DataPtr allocate(size_t bytes, const std::atomic<bool>& fail,
                              std::atomic<int>& slabs) {
    TORCH_CHECK(!fail, "no memory");
    ++slabs;
    void* data = std::aligned_alloc(512, bytes);
    return at::DataPtr(data, data, &std::free, at::kCPU);
  }
};
