#include "engine/memory_pressure.h"

#include <map>

namespace storm {
namespace {

thread_local int for_later = 0;

struct Registry {
  std::mutex mutex;  // guards by_device
  std::map<std::pair<c10::DeviceType, c10::DeviceIndex>, std::shared_ptr<Holders>> by_device;
};
Registry& registry() {
  static auto* all = new Registry;  // never destroyed: an allocator may ask while the process ends
  return *all;
}

std::shared_ptr<Holders> holders_of(c10::Device device) {
  std::lock_guard lock(registry().mutex);
  auto& holders = registry().by_device[{device.type(), device.index()}];
  if (!holders) holders = std::make_shared<Holders>();
  return holders;
}

}  // namespace

void Holders::add(std::weak_ptr<Holder> holder) {
  std::lock_guard lock(mutex_);
  if (holders_.size() >= sweep_at_) {
    std::erase_if(holders_, [](const auto& gone) { return gone.expired(); });
    sweep_at_ = 2 * holders_.size() + 16;
  }
  holders_.push_back(std::move(holder));
}

bool Holders::release_held() {
  std::vector<std::weak_ptr<Holder>> all;
  {
    std::lock_guard lock(mutex_);
    all = holders_;
  }
  bool released = false;
  for (const auto& weak : all) {
    if (auto holder = weak.lock()) released |= holder->release_held();
  }
  return released;
}

bool release_held(c10::Device device) noexcept {
  if (for_later > 0) return false;
  try {
    return holders_of(device)->release_held();
  } catch (...) {  // the allocation's own error says more than ours could
    return false;
  }
}

void register_holder(c10::Device device, std::weak_ptr<Holder> holder) {
  holders_of(device)->add(std::move(holder));
}

ForLater::ForLater() {
  ++for_later;
}
ForLater::~ForLater() {
  --for_later;
}

}  // namespace storm
