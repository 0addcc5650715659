#pragma once
#include <ATen/core/Tensor.h>

#include <optional>
#include <unordered_set>
#include <vector>

#include "engine/geometry.h"
#include "engine/stats.h"

namespace storm {

// What never moves, whatever the plan: decided from the tensor alone. Immutable, so any thread may
// ask.
class KeepRules {
 public:
  // `model` holds the parameters and buffers whose storages stay.
  KeepRules(c10::Device device, size_t min_bytes, const std::vector<at::Tensor>& model);
  // Nothing when the tensor may move; then `own` is what it touches.
  std::optional<KeepReason> reason(const at::Tensor& tensor, ByteRange& own) const;
  // Whether a tensor's Python object is of torch's own classes; a user's class may carry more than
  // bytes. Set by the Python layer; callable without the GIL.
  using PlainObject = bool (*)(const at::TensorBase& tensor) noexcept;
  static void set_plain_object(PlainObject check) noexcept;

  // A plain strided tensor of `device`, nothing but its bytes.
  static bool movable(const at::Tensor& tensor, c10::Device device);

 private:
  bool is_parameter(const at::Tensor& tensor) const;
  bool skips(const at::Tensor& tensor) const;

  c10::Device device_;
  size_t min_bytes_;
  std::unordered_set<const c10::StorageImpl*> skipped_;
  std::vector<c10::weak_intrusive_ptr<c10::StorageImpl>>
      addresses_;  // keep skipped_'s addresses from being reused
};

}  // namespace storm
