// The streams of each device, by CUDA's handles.
#pragma once

#include <cuda_runtime_api.h>

#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "sim/stream.h"

namespace cuda_double {

// What a cudaStream_t points to; lives for ever.
struct StreamHandle {
  storm::sim::StreamName name;  // 0 is the default stream, the others count on
  int priority;
  std::unique_ptr<storm::sim::Stream> stream;
};

// Only grows: neither CUDA's nor torch's streams end before the process.
class StreamTable {
 public:
  StreamTable(int device, storm::sim::FaultSlot& faults);

  cudaStream_t add(int priority);
  storm::sim::Stream& default_stream() { return *all_.front().stream; }
  std::vector<storm::sim::Stream*> all() const;

 private:
  const int device_;
  storm::sim::FaultSlot& faults_;
  mutable std::mutex mutex_;  // guards all_, whose elements stay where they are
  std::deque<StreamHandle> all_;
};

StreamTable& streams_of(int device);

// Null, and the handles CUDA has for default streams, are the default stream of `device`.
storm::sim::Stream& stream_of(int device, cudaStream_t stream);
storm::sim::StreamName name_of(int device, cudaStream_t stream);
int priority_of(cudaStream_t stream);

}  // namespace cuda_double
