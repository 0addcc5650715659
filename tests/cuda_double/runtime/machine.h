// What stands behind the runtime's calls. This library is preloaded, so it exists before torch does
// and links nothing of torch's; the machine is brought by an extension that torch loads at its end
// (../machine). Until then every call but the registration of kernels is refused.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace cuda_double {

// How a call fails. The text reaches the user through cudaGetErrorString.
struct Failure {
  cudaError_t code;
  std::string text;
};

enum class MemoryKind { device, pinned, pageable };

struct Memory {
  MemoryKind kind = MemoryKind::pageable;
  int device = -1;
};

// A stream's handle is null for the default stream of `device`, else what new_stream returned. All
// members are thread-safe and raise Failure.
class Machine {
 public:
  // One record of an event.
  class Moment {
   public:
    virtual ~Moment() = default;
  };
  using MomentRef = std::shared_ptr<Moment>;

  virtual ~Machine() = default;

  virtual int devices() = 0;
  virtual size_t memory_limit() = 0;
  virtual size_t memory_used(int device) = 0;
  virtual bool in_use(int device) = 0;  // has memory or streams

  virtual void* allocate(int device, size_t bytes) = 0;
  virtual void free(void* begin) = 0;  // waits for the whole device, as CUDA does
  virtual void* allocate_pinned(size_t bytes) = 0;
  virtual void free_pinned(void* begin) = 0;  // likewise
  virtual void pin(void* begin, size_t bytes) = 0;
  virtual void unpin(void* begin) = 0;
  virtual Memory what_is(const void* address) = 0;

  // `device` is the calling thread's.
  virtual cudaStream_t new_stream(int device, int priority) = 0;
  virtual int priority_of(cudaStream_t stream) = 0;
  virtual bool captured(int device, cudaStream_t stream) = 0;
  virtual bool idle(int device, cudaStream_t stream) = 0;
  virtual void synchronize(int device, cudaStream_t stream) = 0;
  virtual void synchronize(int device) = 0;

  virtual MomentRef record(int device, cudaStream_t stream) = 0;
  virtual void wait(int device, cudaStream_t stream, const MomentRef& moment) = 0;
  virtual bool reached(const MomentRef& moment) = 0;
  virtual void synchronize(const MomentRef& moment) = 0;
  virtual double milliseconds_between(const MomentRef& begin, const MomentRef& end) = 0;

  // Returns when the caller may go on, which is at once if host memory is pinned.
  virtual void copy(void* to, const void* from, size_t bytes, int device, cudaStream_t stream) = 0;
  virtual void fill(void* begin, int value, size_t bytes, int device, cudaStream_t stream) = 0;
  virtual void call(std::function<void()> function, int device, cudaStream_t stream) = 0;
};

Machine& machine();

// The calling thread's device.
int current_device() noexcept;
void set_current_device(int device);

}  // namespace cuda_double

// Brings the machine, once; it must live for ever.
extern "C" __attribute__((visibility("default"))) void cuda_double_set_machine(
    cuda_double::Machine* machine);
