#include "autograd/default_context.h"

#include <ATen/DeviceAccelerator.h>
#include <c10/core/GradMode.h>

#include <map>

#include "autograd/hook_dispatch.h"

namespace storm {
namespace {

using Key = std::pair<c10::DeviceType, c10::DeviceIndex>;

struct Contexts {
  std::mutex mutex;  // guards by_device
  std::map<Key, std::shared_ptr<OffloadContext>> by_device;
};
Contexts& contexts() {
  static auto* all = new Contexts;  // never destroyed: a late one would ask a device that is gone
  return *all;
}

}  // namespace

std::shared_ptr<OffloadContext> default_context(c10::Device device) {
  if (!at::isAccelerator(device.type())) return nullptr;
  auto& all = contexts();
  const Key key{device.type(), device.index()};
  {
    std::lock_guard lock(all.mutex);
    auto found = all.by_device.find(key);
    if (found != all.by_device.end()) return found->second;
  }
  // Asks the device: not under the lock.
  auto made = std::make_shared<OffloadContext>(
      std::make_shared<StormSystem>(device, OffloadConfig{}), std::vector<at::Tensor>{});
  std::lock_guard lock(all.mutex);
  return all.by_device.emplace(key, std::move(made)).first->second;
}

std::shared_ptr<OffloadContext> default_context_for(const at::Tensor& tensor) {
  static constexpr c10::DispatchKeySet kTraced(
      {c10::DispatchKey::Python, c10::DispatchKey::Functionalize});
  if (!c10::GradMode::is_enabled() || OffloadScope::current() || tensor.key_set().has_any(kTraced))
    return nullptr;
  return default_context(tensor.device());
}

void release_default_contexts() {
  std::map<Key, std::shared_ptr<OffloadContext>> dropped;
  auto& all = contexts();
  std::lock_guard lock(all.mutex);
  all.by_device.swap(dropped);
}

}  // namespace storm
