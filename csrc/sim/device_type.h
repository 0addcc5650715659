// What these sources are compiled for: torch's spare device, here named "sim". Another build of
// them may bring a header of the same name and stand behind another device of torch's.
#pragma once

#include <c10/core/DeviceType.h>
#include <c10/core/DispatchKey.h>

namespace storm::sim {

inline constexpr auto kDeviceType = c10::DeviceType::PrivateUse1;
inline constexpr auto kDispatchKey = c10::DispatchKey::PrivateUse1;
inline constexpr const char* kDeviceName = "sim";

// Where the host finds what a device pointer points to.
inline const void* host_address(const void* device_address) noexcept {
  return device_address;
}

}  // namespace storm::sim

// The kernels of one source file: STORM_SIM_KERNELS(m) { m.impl(..); }
#define STORM_SIM_KERNELS(m) TORCH_LIBRARY_IMPL(aten, PrivateUse1, m)
