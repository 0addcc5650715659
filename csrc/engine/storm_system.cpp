#include "engine/storm_system.h"

#include <c10/core/CachingDeviceAllocator.h>

#include <map>

#include "base/bytes.h"
#include "base/check.h"

namespace storm {
namespace {

std::shared_ptr<HostMemorySource> memory_of(c10::Device device) {
  return std::make_shared<TorchHostMemory>(device.type());
}

struct Defaults {
  std::mutex mutex;  // guards systems
  std::map<c10::DeviceIndex, std::shared_ptr<StormSystem>>
      systems[c10::COMPILE_TIME_MAX_DEVICE_TYPES];
};
Defaults& defaults() {
  static auto* all =
      new Defaults;  // emptied by release_defaults() before the interpreter ends, never destroyed
  return *all;
}

std::shared_ptr<Transfers> make_transfers(c10::Device device, const OffloadConfig& config,
                                          std::shared_ptr<HostMemorySource> memory) {
  TORCH_CHECK_VALUE(device.has_index() && !device.is_cpu(),
                    "offloading needs an accelerator with an index, got ", device);
  size_t total = 0;
  if (auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()))) {
    total = allocator->getMemoryInfo(device.index()).second;
  }
  config.validate(device, total);
  auto pool = PinnedMemoryPool::create(std::move(memory), {config.slab_bytes, config.host_bytes});
  return std::make_shared<Transfers>(device, std::move(pool), config.window_bytes,
                                     config.measure_stalls);
}

}  // namespace

StormSystem::StormSystem(c10::Device device, OffloadConfig config)
    : StormSystem(device, config, memory_of(device)) {}

StormSystem::StormSystem(c10::Device device, OffloadConfig config,
                         std::shared_ptr<HostMemorySource> memory)
    : config_(config),
      transfers_(make_transfers(device, config, std::move(memory))),
      tail_(config.keep_last_bytes) {}

std::shared_ptr<StormSystem> StormSystem::default_for(c10::Device device) {
  if (device.is_cpu() || device.is_meta()) return nullptr;
  auto& all = defaults();
  {
    std::lock_guard lock(all.mutex);
    auto found = all.systems[static_cast<size_t>(device.type())].find(device.index());
    if (found != all.systems[static_cast<size_t>(device.type())].end()) return found->second;
  }
  auto made = std::make_shared<StormSystem>(
      device, OffloadConfig{});  // asks the device: not under the lock
  std::lock_guard lock(all.mutex);
  return all.systems[static_cast<size_t>(device.type())]
      .emplace(device.index(), std::move(made))
      .first->second;
}

void StormSystem::release_defaults() {
  std::map<c10::DeviceIndex, std::shared_ptr<StormSystem>>
      dropped[c10::COMPILE_TIME_MAX_DEVICE_TYPES];
  auto& all = defaults();
  std::lock_guard lock(all.mutex);
  std::swap(all.systems, dropped);
}

std::optional<PinnedMemoryBuffer> StormSystem::acquire_host(size_t bytes) {
  for (;;) {
    if (auto buffer = pool().try_acquire(bytes)) return buffer;
    if (!pool().wait_for_oldest()) return std::nullopt;
  }
}

void StormSystem::check_open() const {
  TORCH_CHECK(
      !closed(), "this offload context of ", device(),
      " is closed and saves no more tensors: create a new one with pamiq_storm.offload(...)");
}

void StormSystem::close() {
  closed_.store(true, std::memory_order_release);
  transfers_->in_flight.let_go_all();
  pool().trim();
}

void StormSystem::check_invariants() {
  pool().check_invariants();
  transfers_->in_flight.check_invariants();
}

}  // namespace storm
