#include "sim/hooks.h"

#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/Storage.h>

#include <algorithm>

#include "sim/device.h"
#include "sim/device_allocator.h"
#include "sim/generator.h"
#include "sim/host_allocator.h"
#include "sim/pinned_ranges.h"

namespace storm::sim {
namespace {

class Hooks final : public at::PrivateUse1HooksInterface {
 public:
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex deviceCount() const override { return device_count(); }
  DeviceIndex getCurrentDevice() const override { return current_device(); }
  void setCurrentDevice(DeviceIndex index) const override {
    device(index);  // raises if there is none
    set_current_device(index);
  }
  DeviceIndex exchangeDevice(DeviceIndex index) const override {
    const auto previous = current_device();
    if (index >= 0) setCurrentDevice(index);
    return previous;
  }
  DeviceIndex maybeExchangeDevice(DeviceIndex index) const override {
    return exchangeDevice(index);
  }

  const at::Generator& getDefaultGenerator(DeviceIndex index) const override {
    return default_generator(index);
  }
  at::Generator getNewGenerator(DeviceIndex index) const override { return make_generator(index); }

  bool isPinnedPtr(const void* data) const override { return pinned_ranges().contains(data); }
  at::Allocator* getPinnedMemoryAllocator() const override { return &pinned_allocator(); }
  at::Device getDeviceFromPtr(void* data) const override {
    return {kDeviceType, DeviceAllocator::instance().device_of(data)};
  }

  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    CurrentDevice guard(storage.device().index());
    auto& allocator = DeviceAllocator::instance();
    auto grown = allocator.allocate(bytes);
    const size_t kept = std::min(bytes, storage.nbytes());
    if (kept > 0) {
      allocator.copy_data(grown.get(), storage.data(), kept);
      allocator.recordStream(storage.data_ptr(), current_stream());
    }
    storage.set_data_ptr_noswap(std::move(grown));
    storage.unsafeGetStorageImpl()->set_nbytes(bytes);
  }
};

}  // namespace

void register_backend() {
  c10::register_privateuse1_backend(kDeviceName);
  static auto* hooks = new Hooks;
  at::RegisterPrivateUse1HooksInterface(hooks);
}

}  // namespace storm::sim
