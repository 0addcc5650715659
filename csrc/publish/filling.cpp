#include "publish/filling.h"

#include <ATen/core/grad_mode.h>
#include <c10/core/StreamGuard.h>

#include "publish/streams.h"

namespace storm {

Filling::Filling(const ModelLayout& layout) : layout_(layout) {
  if (const auto& device = layout.accelerator()) {
    guard_.emplace(device->type());
    home_ = guard_->getStream(*device);
    side_ = PublishStreams::of(*device).publication();
  }
}

Filling::~Filling() {
  if (!issued_) return;
  try {
    end();
  } catch (...) {  // the device is gone, and its work with it
  }
}

void Filling::begin() {
  if (!home_ || home_->query()) return;
  written_ = std::make_shared<const Event>(Event::record(*home_));
}

void Filling::add(void* to, const void* from, size_t bytes, c10::Device device) {
  if (bytes == 0 || from == nullptr) return;
  (device.is_cpu() ? on_host_ : on_device_).push_back({to, from, bytes});
  copied_bytes_ += bytes;
}

void Filling::run(Snapshot* next) {
  copy_on_host(on_host_);
  on_host_.clear();
  const bool opaque = next != nullptr && !layout_.opaque().empty();
  if (written_ && (!on_device_.empty() || opaque)) written_->block(*side_);
  const c10::OptionalStreamGuard on_side(side_);
  issued_ = true;
  if (side_) copy_on_device(on_device_, *layout_.accelerator());
  on_device_.clear();
  if (!opaque) return;
  const at::NoGradGuard no_grad;
  for (size_t i : layout_.opaque()) {
    next->served()[i].copy_(layout_.live()[i], /*non_blocking=*/true);
    copied_bytes_ += ModelLayout::opaque_bytes(layout_.live()[i]);
  }
}

void Filling::end() {
  issued_ = false;
  if (!side_) return;
  copied_ = std::make_shared<const Event>(Event::record(*side_));
  copied_->block(*home_);
}

}  // namespace storm
