#include "publish/snapshot.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

#include "base/check.h"
#include "base/process.h"
#include "publish/storage_memory.h"

namespace storm {

Snapshot::Snapshot(std::shared_ptr<const ModelLayout> layout, std::vector<at::Tensor> served)
    : layout_(std::move(layout)), served_(std::move(served)) {
  TORCH_CHECK_VALUE(fits(), "the tensors of a snapshot are not those of its layout");
}

Snapshot::~Snapshot() {
  if (process_exiting()) return;
  try {
    record_uses();
  } catch (...) {  // the device is gone, and with it who could still be reading
  }
}

const c10::StorageImpl& Snapshot::storage(size_t group) const {
  return *served_[layout_->groups()[group].first].storage().unsafeGetStorageImpl();
}

c10::StorageImpl& Snapshot::storage(size_t group) {
  return *served_[layout_->groups()[group].first].storage().unsafeGetStorageImpl();
}

void Snapshot::settle() {
  settled_.clear();
  settled_.reserve(served_.size());
  for (const auto& tensor : served_) {
    settled_.emplace_back(tensor.use_count(), tensor.has_storage() ? holders(tensor.storage()) : 0);
  }
}

bool Snapshot::unreferenced() const {
  STORM_INVARIANT(settled_.size() == served_.size(), "A snapshot was never settled.");
  for (size_t i = 0; i < served_.size(); ++i) {
    const auto& tensor = served_[i];
    if (tensor.use_count() > settled_[i].first) return false;
    if (tensor.has_storage() && holders(tensor.storage()) > settled_[i].second) return false;
  }
  return true;
}

void Snapshot::renew() {
  for (const auto& tensor : served_) {
    auto* impl = tensor.unsafeGetTensorImpl();
    if (tensor.grad_fn() == nullptr && tensor.requires_grad() && tensor.grad().defined())
      impl->mutable_grad() = at::Tensor();
    if (!tensor.is_inference()) impl->bump_version();
  }
}

void Snapshot::follow_requires_grad() {
  for (size_t i = 0; i < served_.size(); ++i) {
    const bool wanted = layout_->live()[i].requires_grad();
    if (served_[i].requires_grad() != wanted && served_[i].is_leaf())
      served_[i].set_requires_grad(wanted);
  }
}

bool Snapshot::unused() const {
  return std::all_of(uses_.begin(), uses_.end(), [](const Use& use) { return use.event->done(); });
}

std::vector<c10::weak_intrusive_ptr<c10::StorageImpl>> Snapshot::kept() const {
  std::vector<c10::weak_intrusive_ptr<c10::StorageImpl>> kept;
  for (size_t g = 0; g < layout_->groups().size(); ++g) {
    kept.push_back(served_[layout_->groups()[g].first].storage().getWeakStorageImpl());
  }
  return kept;
}

void Snapshot::allocate() {
  for (size_t g = 0; g < layout_->groups().size(); ++g) {
    const auto& group = layout_->groups()[g];
    if (group.bytes > 0 && !has_memory(storage(g)))
      give(storage(g), storm::allocate(group.bytes, group.device));
  }
  bytes_ = layout_->bytes();
}

void Snapshot::release() {
  record_uses();
  for (size_t g = 0; g < layout_->groups().size(); ++g) {
    if (layout_->groups()[g].bytes > 0) leave_without(storage(g));
  }
  uses_.clear();
  bytes_ = 0;
}

void Snapshot::note_use(const c10::Stream& stream, EventRef event) {
  for (auto& use : uses_) {
    if (use.stream == stream) {
      use.event = std::move(event);
      return;
    }
  }
  uses_.push_back({stream, std::move(event)});
}

void Snapshot::record_uses() const {
  if (uses_.empty()) return;
  const c10::impl::VirtualGuardImpl guard(layout_->accelerator()->type());
  for (size_t g = 0; g < layout_->groups().size(); ++g) {
    if (layout_->groups()[g].device.is_cpu() || !has_memory(storage(g))) continue;
    for (const auto& use : uses_) guard.recordDataPtrOnStream(storage(g).data_ptr(), use.stream);
  }
}

}  // namespace storm
