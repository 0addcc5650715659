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

}  // namespace storm::sim
