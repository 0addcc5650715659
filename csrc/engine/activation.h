#pragma once
#include "engine/saved_tensor.h"
#include "engine/storm_system.h"

namespace storm {

// One activation moved by hand. The handle is the key; `layer_id` is a label for traces and
// statistics, so two activations of one layer, or of two layers with one number, never meet.
struct OffloadedActivation {
  int64_t layer_id;
  SavedTensor saved;
};

// Queues the copy to host memory, whatever the size. The caller may drop or reuse the tensor at
// once; its bytes are held until the copy is over. Does not synchronise. Throws when the tensor
// cannot be moved or the host cap is full.
std::shared_ptr<OffloadedActivation> offload_activation_to_cpu(const at::Tensor& activation,
                                                               int64_t layer_id,
                                                               StormSystem& system);

// The activation back on its device, ready in the current stream's order; as often as asked. Does
// not synchronise.
at::Tensor fetch_activation_from_cpu(const OffloadedActivation& activation);

}  // namespace storm
