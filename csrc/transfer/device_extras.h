#pragma once
#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <memory>
#include <optional>

namespace storm {

// What one vendor adds to c10's generic interfaces. Registered while csrc/cuda loads; absent otherwise.
struct DeviceExtras {
  virtual ~DeviceExtras() = default;
  // A stream of its own, outside torch's shared pool; nullopt: use the pool.
  virtual std::optional<c10::Stream> new_stream(c10::Device device, int priority) const = 0;
};

void register_device_extras(c10::DeviceType type, std::unique_ptr<DeviceExtras> extras);
const DeviceExtras* device_extras(c10::DeviceType type) noexcept;

}  // namespace storm
