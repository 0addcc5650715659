#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <memory>
#include <optional>

namespace storm {

// What one vendor adds to c10's generic interfaces. A vendor's folder (csrc/cuda) registers its
// own while the extension loads; where nothing is registered, the engine does without.
struct DeviceExtras {
  virtual ~DeviceExtras() = default;

  // A stream that nobody else is handed, unlike the 32 that torch's pool deals out round-robin.
  // It lives as long as the process, so ask once per device and purpose and keep it. Lower
  // numbers are more urgent, as everywhere in c10. nullopt: there is none, use the pool.
  // Does not synchronise.
  virtual std::optional<c10::Stream> new_stream(c10::Device device, int priority) const = 0;
};

// At most once per type; the registered object lives as long as the process.
void register_device_extras(c10::DeviceType type, std::unique_ptr<DeviceExtras> extras);

// nullptr when there are none. Any thread, no lock.
const DeviceExtras* device_extras(c10::DeviceType type) noexcept;

}  // namespace storm
