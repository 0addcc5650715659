#pragma once
#include <c10/core/Storage.h>
#include <c10/core/TensorImpl.h>

#include <cstring>

namespace storm {

// Note [Which bytes are these?]
// A storage's address is reused and `.data` gives the same storage a second version counter. Bytes
// are the same bytes when the storage object, the counter object and the counter's value all are.
// Holding the weak storage and the counter keeps both addresses from being reused while we compare
// them.
struct Identity {
  explicit Identity(const at::TensorBase& tensor)
      : storage(tensor.storage().getWeakStorageImpl()),
        counter(tensor.unsafeGetTensorImpl()->version_counter()),
        version(counter.current_version()) {}

  bool is_of(const at::TensorBase& tensor) const {
    const auto& other = tensor.unsafeGetTensorImpl()->version_counter();
    // The counter has no public identity; it is one pointer wide.
    static_assert(sizeof(c10::VariableVersion) == sizeof(void*));
    return storage._unsafe_get_target() == tensor.storage().unsafeGetStorageImpl() &&
           std::memcmp(&counter, &other, sizeof(void*)) == 0 && version == other.current_version();
  }

  c10::weak_intrusive_ptr<c10::StorageImpl> storage;
  c10::VariableVersion counter;
  uint32_t version;
};

}  // namespace storm
