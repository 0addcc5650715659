// What is wrong with a device: the first error of its kernels, kept until somebody synchronises,
// and whether it is lost.
#pragma once

#include <atomic>
#include <mutex>
#include <string>

namespace storm::sim {

class FaultSlot {
 public:
  explicit FaultSlot(int device) : device_(device) {}

  // Keeps only the first error: later ones are mostly its consequences.
  void report(const char* task, const char* what);

  // Raises the kept error, once, naming the kernel.
  void raise_if_any();

  // A lost device runs nothing any more and refuses every call until it is revived.
  void lose() noexcept { lost_ = true; }
  bool lost() const noexcept { return lost_.load(std::memory_order_acquire); }
  void check_alive() const {
    if (lost()) raise_lost();
  }
  void revive();  // forgets the kept error too

 private:
  [[noreturn]] void raise_lost() const;

  const int device_;
  std::atomic<bool> lost_{false};
  std::atomic<bool> any_{false};
  std::mutex mutex_;  // guards message_ and changes of any_
  std::string message_;
};

}  // namespace storm::sim
