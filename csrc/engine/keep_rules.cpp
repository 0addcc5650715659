#include "engine/keep_rules.h"

#include <torch/csrc/autograd/functions/accumulate_grad.h>

namespace storm {
namespace {

// Keys of tensors that are more than their strided bytes: subclasses, fakes, functorch's and
// functionalisation's wrappers, zero tensors without memory, nested and quantised ones.
constexpr c10::DispatchKeySet kWrapped({
    c10::DispatchKey::Python,
    c10::DispatchKey::Functionalize,
    c10::DispatchKey::FuncTorchGradWrapper,
    c10::DispatchKey::FuncTorchBatched,
    c10::DispatchKey::Batched,
    c10::DispatchKey::ZeroTensor,
});

// The leaf that `tensor` is another dtype of, if it is: autocast's weights.
at::Tensor cast_leaf(const at::TensorBase& tensor) {
  const auto& cast = tensor.grad_fn();
  if (!cast || cast->num_outputs() != 1 || cast->name() != "ToCopyBackward0") return {};
  const auto* leaf =
      dynamic_cast<torch::autograd::AccumulateGrad*>(cast->next_edge(0).function.get());
  return leaf != nullptr ? leaf->variable : at::Tensor();
}

}  // namespace

KeepRules::KeepRules(c10::Device device, size_t min_bytes, const std::vector<at::Tensor>& model)
    : device_(device), min_bytes_(min_bytes) {
  for (const auto& tensor : model) {
    if (!tensor.has_storage()) continue;
    if (skipped_.insert(tensor.storage().unsafeGetStorageImpl()).second) {
      addresses_.push_back(tensor.storage().getWeakStorageImpl());
    }
  }
}

bool KeepRules::movable(const at::Tensor& tensor, c10::Device device) {
  const auto* impl = tensor.unsafeGetTensorImpl();
  return tensor.device() == device && tensor.layout() == at::kStrided && tensor.has_storage() &&
         !impl->key_set().has_any(kWrapped) && !tensor.is_quantized() && !tensor.is_nested() &&
         !tensor.is_inference() && !impl->has_symbolic_sizes_strides();
}

bool KeepRules::skips(const at::Tensor& tensor) const {
  return tensor.has_storage() && skipped_.count(tensor.storage().unsafeGetStorageImpl()) > 0;
}

// torch hands over what it saves detached: whose history it has, its base knows.
bool KeepRules::is_parameter(const at::Tensor& tensor) const {
  if (skips(tensor)) return true;
  const at::TensorBase& base =
      tensor.is_view() ? tensor._base() : static_cast<const at::TensorBase&>(tensor);
  if (!base.requires_grad()) return false;
  if (base.is_leaf()) return true;
  const auto leaf = cast_leaf(base);
  return leaf.defined() && (skipped_.empty() || skips(leaf));
}

std::optional<KeepReason> KeepRules::reason(const at::Tensor& tensor, ByteRange& own) const {
  if (!movable(tensor, device_)) return KeepReason::foreign;
  if (is_parameter(tensor)) return KeepReason::parameter;
  // A small view of large bytes is small only if moving it alone is.
  own = touched_bytes(tensor);
  if (own.bytes() < min_bytes_) return KeepReason::small;
  return std::nullopt;
}

}  // namespace storm
