// What every call of the runtime has in common: it is counted, and its failures become codes.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <exception>

#include "machine.h"

#define CUDA_DOUBLE_API extern "C" __attribute__((visibility("default")))

namespace cuda_double {

// How often a function was called; lives for ever.
class Counter {
 public:
  explicit Counter(const char* function);
  void add() noexcept { count_.fetch_add(1, std::memory_order_relaxed); }

 private:
  friend size_t counted(const char* function);
  const char* const function_;
  std::atomic<size_t> count_{0};
};

size_t counted(const char* function);

// Remembers the error for cudaGetLastError and cudaGetErrorString of the calling thread.
cudaError_t fail(cudaError_t code, const std::string& text) noexcept;
cudaError_t refuse(const char* function) noexcept;

template <class Body>
cudaError_t answer(Body body) noexcept {
  try {
    body();
    return cudaSuccess;
  } catch (const Failure& failure) {
    return fail(failure.code, failure.text);
  } catch (const std::exception& error) {
    return fail(cudaErrorUnknown, error.what());
  }
}

}  // namespace cuda_double

#define CUDA_DOUBLE_COUNT()                           \
  static ::cuda_double::Counter counter_of(__func__); \
  counter_of.add()
