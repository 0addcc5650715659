#include "base/process.h"

#include <atomic>

namespace storm {
namespace {
std::atomic<bool> exiting{false};
}

bool process_exiting() noexcept {
  return exiting.load(std::memory_order_acquire);
}
void set_process_exiting() noexcept {
  exiting.store(true, std::memory_order_release);
}

}  // namespace storm
