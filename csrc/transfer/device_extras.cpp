#include "transfer/device_extras.h"

#include <array>
#include <atomic>

namespace storm {
namespace {
// Registered once per type while the library loads, read ever after; never freed.
std::array<std::atomic<const DeviceExtras*>, c10::COMPILE_TIME_MAX_DEVICE_TYPES> registry{};
}  // namespace

void register_device_extras(c10::DeviceType type, std::unique_ptr<DeviceExtras> extras) {
  registry[static_cast<size_t>(type)].store(extras.release(), std::memory_order_release);
}

const DeviceExtras* device_extras(c10::DeviceType type) noexcept {
  return registry[static_cast<size_t>(type)].load(std::memory_order_acquire);
}

}  // namespace storm
