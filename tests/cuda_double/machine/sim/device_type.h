// Shadows the header of this name in csrc/sim: here those sources stand behind torch's CUDA device.
#pragma once

#include <c10/core/DeviceType.h>
#include <c10/core/DispatchKey.h>

#include "arena.h"
#include "overrides.h"

namespace storm::sim {

inline constexpr auto kDeviceType = c10::DeviceType::CUDA;
inline constexpr auto kDispatchKey = c10::DispatchKey::CUDA;
inline constexpr const char* kDeviceName = "cuda";

// Device pointers cannot be read through; the bytes lie behind an alias.
inline const void* host_address(const void* device_address) noexcept {
  return cuda_double::Arena::bytes_behind(device_address);
}

}  // namespace storm::sim

// Named by number: several sources may be compiled as one.
#define STORM_SIM_KERNELS(m) STORM_SIM_KERNELS_(m, C10_UID)
#define STORM_SIM_KERNELS_(m, number) STORM_SIM_KERNELS_OF(m, number)
#define STORM_SIM_KERNELS_OF(m, number)                                                     \
  static void register_kernels_##number(torch::Library& m);                                 \
  static const ::cuda_double::Kernels kernels_of_file_##number(&register_kernels_##number); \
  static void register_kernels_##number(torch::Library& m)
