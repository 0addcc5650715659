// The first error of a device's kernels, kept until somebody synchronises.
#pragma once

#include <atomic>
#include <mutex>
#include <string>

namespace storm::sim {

class FaultSlot {
 public:
  // Keeps only the first error: later ones are mostly its consequences.
  void report(const char* task, const char* what);

  // Raises the kept error, once, naming the kernel.
  void raise_if_any();

 private:
  std::atomic<bool> any_{false};
  std::mutex mutex_;  // guards message_ and changes of any_
  std::string message_;
};

}  // namespace storm::sim
