#include "call.h"

#include <cstring>
#include <mutex>
#include <vector>

namespace cuda_double {
namespace {

struct Counters {
  std::mutex mutex;  // guards all
  std::vector<Counter*> all;
};

Counters& counters() {
  static auto* instance = new Counters;
  return *instance;
}

std::atomic<Machine*> g_machine{nullptr};
thread_local int t_device = 0;

}  // namespace

Counter::Counter(const char* function) : function_(function) {
  std::lock_guard lock(counters().mutex);
  counters().all.push_back(this);
}

size_t counted(const char* function) {
  std::lock_guard lock(counters().mutex);
  size_t sum = 0;
  for (const Counter* counter : counters().all) {
    if (std::strcmp(counter->function_, function) == 0) sum += counter->count_;
  }
  return sum;
}

Machine& machine() {
  Machine* present = g_machine;
  if (present == nullptr) {
    throw Failure{cudaErrorInitializationError,
                  "the CUDA double has no machine yet: torch did not load its extension"};
  }
  return *present;
}

int current_device() noexcept {
  return t_device;
}

void set_current_device(int device) {
  if (device < 0 || device >= machine().devices()) {
    throw Failure{cudaErrorInvalidDevice,
                  "the CUDA double has no device " + std::to_string(device)};
  }
  t_device = device;
}

}  // namespace cuda_double

void cuda_double_set_machine(cuda_double::Machine* machine) {
  cuda_double::g_machine = machine;
}

CUDA_DOUBLE_API size_t cuda_double_calls(const char* function) {
  return cuda_double::counted(function);
}
