#include "publish/layout.h"

#include <c10/core/Allocator.h>
#include <c10/core/InferenceMode.h>

#include <unordered_map>

#include "base/check.h"
#include "engine/keep_rules.h"
#include "publish/storage_memory.h"

namespace storm {
namespace {

c10::StorageImpl* storage_of(const at::Tensor& tensor) {
  return tensor.storage().unsafeGetStorageImpl();
}

bool is_plain(const at::Tensor& tensor) {
  return KeepRules::movable(tensor, tensor.device()) && !tensor.is_meta() && !tensor.is_conj() &&
         !tensor.is_neg();
}

bool same_shape(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         a.strides() == b.strides() && a.storage_offset() == b.storage_offset();
}

// Like `pattern`, over another storage.
at::Tensor over(const c10::Storage& storage, const at::Tensor& pattern) {
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage), c10::DispatchKeySet(pattern.options().computeDispatchKey()),
      pattern.dtype());
  auto* impl = tensor.unsafeGetTensorImpl();
  impl->set_sizes_and_strides(pattern.sizes(), pattern.strides(), pattern.storage_offset());
  return tensor;
}

}  // namespace

ModelLayout::ModelLayout(std::vector<at::Tensor> live) : live_(std::move(live)) {
  std::unordered_map<const c10::StorageImpl*, size_t> groups;
  for (size_t i = 0; i < live_.size(); ++i) {
    const auto& tensor = live_[i];
    const auto device = tensor.device();
    if (!device.is_cpu() && !tensor.is_meta()) {
      TORCH_CHECK_VALUE(!accelerator_ || *accelerator_ == device, "a live model lies on ",
                        accelerator_.value_or(device), " and on ", device,
                        ": publish one model for each device");
      accelerator_ = device;
    }
    if (!is_plain(tensor)) {
      group_of_.push_back(kOpaque);
      opaque_.push_back(i);
      bytes_ += opaque_bytes(tensor);
      continue;
    }
    const auto [found, is_new] = groups.try_emplace(storage_of(tensor), groups_.size());
    if (is_new) {
      groups_.push_back({i, 0, tensor.storage().nbytes(), device});
      bytes_ += groups_.back().bytes;
    }
    ++groups_[found->second].members;
    group_of_.push_back(found->second);
  }
}

size_t ModelLayout::opaque_bytes(const at::Tensor& tensor) {
  return tensor.layout() == at::kStrided && tensor.has_storage() && !tensor.is_nested()
             ? tensor.nbytes()
             : 0;
}

std::vector<at::Tensor> ModelLayout::blanks() const {
  const c10::InferenceMode normal(false);
  std::vector<c10::Storage> storages;
  storages.reserve(groups_.size());
  for (const auto& group : groups_) {
    // Made empty: torch allocates for a storage that has a size and no memory.
    storages.emplace_back(c10::make_storage_impl(
        c10::StorageImpl::use_byte_size_t(), c10::SymInt(0), c10::DataPtr(nullptr, group.device),
        c10::GetAllocator(group.device.type()), /*resizable=*/false, group.device));
    storages.back().unsafeGetStorageImpl()->unsafe_set_nbytes(group.bytes);
    if (group.bytes > 0) leave_without(*storages.back().unsafeGetStorageImpl());
  }
  std::vector<at::Tensor> made;
  made.reserve(live_.size());
  for (size_t i = 0; i < live_.size(); ++i) {
    made.push_back(group_of_[i] == kOpaque ? at::Tensor() : over(storages[group_of_[i]], live_[i]));
  }
  return made;
}

bool ModelLayout::matches(const std::vector<at::Tensor>& other) const {
  if (other.size() != live_.size()) return false;
  for (size_t i = 0; i < live_.size(); ++i) {
    if (group_of_[i] == kOpaque) {
      if (live_[i].scalar_type() != other[i].scalar_type() ||
          live_[i].device() != other[i].device() ||
          (!live_[i].is_nested() && live_[i].sizes() != other[i].sizes())) {
        return false;
      }
      continue;
    }
    const auto& group = groups_[group_of_[i]];
    const auto& live = live_[i];
    if (!live.has_storage() || !same_shape(live, other[i]) || live.device() != group.device ||
        storage_of(live) != storage_of(live_[group.first]) ||
        storage_of(other[i]) != storage_of(other[group.first]) ||
        (i == group.first &&
         (live.storage().nbytes() != group.bytes || other[i].storage().nbytes() != group.bytes))) {
      return false;
    }
  }
  return true;
}

}  // namespace storm
