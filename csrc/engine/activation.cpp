#include "engine/activation.h"

#include "base/bytes.h"
#include "base/check.h"
#include "engine/keep_rules.h"

namespace storm {

std::shared_ptr<OffloadedActivation> offload_activation_to_cpu(const at::Tensor& activation,
                                                               int64_t layer_id,
                                                               StormSystem& system) {
  system.check_open();
  TORCH_CHECK_VALUE(activation.defined(), "offload_activation_to_cpu: the activation is undefined");
  TORCH_CHECK_VALUE(activation.device() == system.device(),
                    "offload_activation_to_cpu: the activation is on ", activation.device(),
                    ", the system serves ", system.device());
  TORCH_CHECK_VALUE(KeepRules::movable(activation, system.device()),
                    "offload_activation_to_cpu: only plain strided tensors can be moved, got ",
                    activation.toString());
  const ByteRange range = moved_bytes(activation.storage(), touched_bytes(activation));
  auto bytes = system.send(activation, range);
  TORCH_CHECK(
      bytes, "offload_activation_to_cpu: ", format_bytes(range.bytes()),
      " of host memory are needed, the cap host_bytes = ", format_bytes(system.config().host_bytes),
      " has no room with ", format_bytes(system.pool().stats().live_bytes), " in use: raise it");
  auto tape = Tape::open(system.transfers(), /*prefetch_bytes=*/0);
  auto place = Tape::append(tape, bytes, /*first=*/true);
  return std::make_shared<OffloadedActivation>(
      layer_id, SavedTensor::offload(activation, bytes, std::move(place)));
}

at::Tensor fetch_activation_from_cpu(const OffloadedActivation& activation) {
  return activation.saved.fetch();
}

}  // namespace storm
