#include "transfer/device_extras.h"

#include <c10/core/DeviceType.h>
#include <c10/util/Exception.h>

#include <array>
#include <atomic>
#include <cstddef>

namespace storm {
namespace {

// Filled once per type and never emptied: a stream's thread may still ask while the process exits,
// so nothing here has a destructor.
using Slots = std::array<std::atomic<const DeviceExtras*>, c10::COMPILE_TIME_MAX_DEVICE_TYPES>;
constinit Slots slots{};

}  // namespace

void register_device_extras(c10::DeviceType type, std::unique_ptr<DeviceExtras> extras) {
  TORCH_INTERNAL_ASSERT(extras != nullptr);
  const DeviceExtras* none = nullptr;
  const bool first = slots[static_cast<std::size_t>(type)].compare_exchange_strong(
      none, extras.get(), std::memory_order_release);
  TORCH_CHECK(first, "device extras for ", c10::DeviceTypeName(type), " are registered already");
  static_cast<void>(extras.release());  // the table owns them now, for good
}

const DeviceExtras* device_extras(c10::DeviceType type) noexcept {
  return slots[static_cast<std::size_t>(type)].load(std::memory_order_acquire);
}

}  // namespace storm
