#pragma once
#include <ATen/record_function.h>
#include <c10/core/Device.h>

namespace storm {

struct DeviceExtras;

// A named stretch of the calling thread: in torch's profiler, and in the vendor's where there is
// one. `name` is a literal. Costs next to nothing while nobody looks.
class Range {
 public:
  Range(c10::DeviceType type, const char* name);
  ~Range();
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;

 private:
  const DeviceExtras* const extras_;
  at::RecordFunction record_;
};

// A moment, for the vendor's profiler.
void mark(c10::DeviceType type, const char* name);

}  // namespace storm
