#include "publish/storage_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/DeviceGuard.h>

#include <optional>

namespace storm {

size_t holders(const c10::Storage& storage) {
  const bool idle = storage.unsafeGetStorageImpl()->pyobj_slot()->has_unique_reference();
  return storage.use_count() - (idle ? 1 : 0);
}

bool can_move(const c10::Storage& storage, size_t members) {
  return holders(storage) == members && storage.resizable() &&
         storage.data_ptr().get_deleter() ==
             c10::GetAllocator(storage.device_type())->raw_deleter();
}

c10::DataPtr allocate(size_t bytes, c10::Device device) {
  const c10::OptionalDeviceGuard guard(device.is_cpu() ? std::nullopt
                                                       : std::optional<c10::Device>(device));
  return c10::GetAllocator(device.type())->allocate(bytes);
}

c10::DataPtr take(c10::StorageImpl& storage) {
  c10::DataPtr memory(nullptr, storage._mutable_data_ptr_no_checks().device());
  std::swap(memory, storage._mutable_data_ptr_no_checks());
  return memory;
}

void give(c10::StorageImpl& storage, c10::DataPtr memory) noexcept {
  storage._mutable_data_ptr_no_checks() = std::move(memory);
  storage.clear_data_ptr_access_error_msg_();
}

void leave_without(c10::StorageImpl& storage) {
  take(storage);
  storage.release_data_and_set_meta_custom_data_ptr_error_msg_(
      "This module was kept beyond the `with` block that gave it, and its version is gone: enter "
      "unwrap() again.");
}

bool has_memory(const c10::StorageImpl& storage) {
  return static_cast<bool>(const_cast<c10::StorageImpl&>(storage)._mutable_data_ptr_no_checks());
}

void lend(c10::StorageImpl& borrower, c10::StorageImpl& owner) {
  c10::DataPtr alias(borrower.data_ptr().get(), borrower.device());
  give(owner, take(borrower));
  give(borrower, std::move(alias));
}

}  // namespace storm
