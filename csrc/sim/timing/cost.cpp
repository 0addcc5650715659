#include "sim/timing/cost.h"

#include <ATen/Context.h>

#include <algorithm>

namespace storm::sim {
namespace {

double peak(c10::ScalarType dtype, const Profile& profile) {
  switch (dtype) {
    case c10::ScalarType::Half:
    case c10::ScalarType::BFloat16:
      return profile.half_flops;
    case c10::ScalarType::Double:
      return profile.double_flops;
    default:
      break;
  }
  const bool tf32 =
      at::globalContext().float32MatmulPrecision() != at::Float32MatmulPrecision::HIGHEST;
  return tf32 ? profile.tf32_flops : profile.single_flops;
}

double efficiency(Unit unit, const Profile& profile) {
  switch (unit) {
    case Unit::convolution:
      return profile.convolution_efficiency;
    case Unit::attention:
      return profile.attention_efficiency;
    case Unit::attention_backward:
      return profile.attention_backward_efficiency;
    default:
      return profile.matmul_efficiency;
  }
}

}  // namespace

KernelCost kernel_cost(const Work& work, const Profile& profile) {
  KernelCost cost;
  if (work.flops > 0) {
    cost.compute = work.flops / (peak(work.dtype, profile) * efficiency(work.unit, profile));
  }
  cost.memory = work.bytes / (profile.memory_bytes_per_s * profile.memory_efficiency);
  return cost;
}

double link_rate(const Work& work, const Profile& profile) {
  const double link = work.unit == Unit::d2h ? profile.d2h_bytes_per_s : profile.h2d_bytes_per_s;
  return work.pinned ? link : std::min(link, profile.pageable_bytes_per_s);
}

double copy_cost(const Work& work, const Profile& profile) {
  return profile.copy_latency_s + work.bytes / link_rate(work, profile);
}

}  // namespace storm::sim
