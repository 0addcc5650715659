// Events. Each record is a moment of its own: who waits for the one before is not affected.
#include <mutex>

#include "call.h"

using namespace cuda_double;

namespace {

struct Event {
  explicit Event(unsigned flags) : timed((flags & cudaEventDisableTiming) == 0) {}

  Machine::MomentRef last() {
    std::lock_guard lock(mutex);
    return moment;
  }

  const bool timed;
  std::mutex mutex;  // guards moment
  Machine::MomentRef moment;
};

Event& event_of(cudaEvent_t handle) {
  if (handle == nullptr) throw Failure{cudaErrorInvalidResourceHandle, "the event is null"};
  return *reinterpret_cast<Event*>(handle);
}

}  // namespace

CUDA_DOUBLE_API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  CUDA_DOUBLE_COUNT();
  return answer([&] { *event = reinterpret_cast<cudaEvent_t>(new Event(flags)); });
}

CUDA_DOUBLE_API cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

CUDA_DOUBLE_API cudaError_t cudaEventDestroy(cudaEvent_t event) {
  CUDA_DOUBLE_COUNT();
  delete reinterpret_cast<Event*>(event);
  return cudaSuccess;
}

CUDA_DOUBLE_API cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    Event& event = event_of(handle);
    auto moment = machine().record(current_device(), stream);
    std::lock_guard lock(event.mutex);
    event.moment = std::move(moment);
  });
}

CUDA_DOUBLE_API cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream,
                                                     unsigned) {
  return cudaEventRecord(event, stream);
}

CUDA_DOUBLE_API cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    if (const auto moment = event_of(event).last()) {
      machine().wait(current_device(), stream, moment);
    }
  });
}

CUDA_DOUBLE_API cudaError_t cudaEventQuery(cudaEvent_t event) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    const auto moment = event_of(event).last();
    if (moment && !machine().reached(moment)) throw Failure{cudaErrorNotReady, "not ready"};
  });
}

CUDA_DOUBLE_API cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    if (const auto moment = event_of(event).last()) machine().synchronize(moment);
  });
}

CUDA_DOUBLE_API cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t begin,
                                                 cudaEvent_t end) {
  CUDA_DOUBLE_COUNT();
  return answer([&] {
    const auto first = event_of(begin).last(), last = event_of(end).last();
    if (!first || !last || !event_of(begin).timed || !event_of(end).timed) {
      throw Failure{cudaErrorInvalidResourceHandle, "an event without a recorded time"};
    }
    if (!machine().reached(first) || !machine().reached(last)) {
      throw Failure{cudaErrorNotReady, "not ready"};
    }
    *milliseconds = static_cast<float>(machine().milliseconds_between(first, last));
  });
}
