// The numbers of one machine: an accelerator, its link and its host. SI units; data files with the
// source of each number lie in pamiq_storm/profiles.
#pragma once

#include <cstdint>

namespace storm::sim {

struct Profile {
  double memory_bytes = 24e9;
  // Dense peak rates, half precision accumulating in single.
  double half_flops = 165e12;
  double tf32_flops = 82e12;
  double single_flops = 82e12;
  double double_flops = 1.3e12;
  // What large operations reach of the peak.
  double matmul_efficiency = 0.9;
  double convolution_efficiency = 0.7;
  double attention_efficiency = 0.6;
  double attention_backward_efficiency = 0.5;
  double memory_bytes_per_s = 1e12;
  double memory_efficiency = 0.85;
  double kernel_floor_s = 3e-6;  // the shortest kernel
  double d2h_bytes_per_s = 25e9;
  double h2d_bytes_per_s = 25e9;
  double pageable_bytes_per_s = 6e9;
  double copy_latency_s = 10e-6;
  double launch_s = 5e-6;  // of the host's time
  double api_s = 1e-6;     // to record, wait for or query an event
  double pin_s = 5e-4;
  double pin_bytes_per_s = 25e9;
  double unpin_s = 5e-4;
  double device_malloc_s = 3e-4;
  double device_free_s = 3e-4;
  double host_memory_bytes = 0;  // that can be pinned; 0: no limit
};

}  // namespace storm::sim
