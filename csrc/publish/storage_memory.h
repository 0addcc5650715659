#pragma once
#include <c10/core/Storage.h>
#include <c10/core/Stream.h>

#include <cstddef>

namespace storm {

// The memory of a storage, handed from one storage to another while both stay where they are: who
// holds the storage (parameters, their views, flattened weights) goes on with the other memory.

// Whether the memory may leave: torch's allocator gave it, and nobody but `members` tensors holds
// the storage. A view kept by a graph, an array of numpy or another process would notice.
bool can_move(const c10::Storage& storage, size_t members);

c10::DataPtr allocate(size_t bytes, c10::Device device);

// Takes the memory out; the storage is left without.
c10::DataPtr take(c10::StorageImpl& storage);
void give(c10::StorageImpl& storage, c10::DataPtr memory) noexcept;
// `owner` gets the memory of `borrower`, which goes on using it.
void lend(c10::StorageImpl& borrower, c10::StorageImpl& owner);

}  // namespace storm
