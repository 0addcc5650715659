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

#define STORM_SIM_KERNELS(m)                                              \
  static void register_kernels(torch::Library& m);                        \
  static const ::cuda_double::Kernels kernels_of_file(&register_kernels); \
  static void register_kernels(torch::Library& m)
