#include "sim/fault.h"

#include <c10/util/Exception.h>

#include <utility>

namespace storm::sim {

void FaultSlot::report(const char* task, const char* what) {
  std::lock_guard lock(mutex_);
  if (any_) return;
  message_ = std::string("sim: kernel ") + task + " failed: " + what;
  any_ = true;
}

void FaultSlot::raise_if_any() {
  check_alive();
  if (!any_) return;
  std::string message;
  {
    std::lock_guard lock(mutex_);
    if (!any_) return;
    message = std::exchange(message_, {});
    any_ = false;
  }
  TORCH_CHECK(false, message, " (reported at a later synchronisation)");
}

void FaultSlot::revive() {
  std::lock_guard lock(mutex_);
  message_.clear();
  any_ = false;
  lost_ = false;
}

void FaultSlot::raise_lost() const {
  TORCH_CHECK(false, "sim:", device_,
              " is lost: it answers no call, what was queued did not run, and its "
              "memory cannot be read. Restart from a checkpoint in a new process");
}

}  // namespace storm::sim
