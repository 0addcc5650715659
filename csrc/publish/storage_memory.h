#pragma once
#include <c10/core/Storage.h>
#include <c10/core/Stream.h>

#include <cstddef>

namespace storm {

// The memory of a storage, handed from one storage to another while both stay where they are: who
// holds the storage (parameters, their views, flattened weights) goes on with the other memory.

// How many tensors and others hold the storage. Python's object for it, which torch keeps from the
// first time somebody asked for it, counts only while somebody has it.
size_t holders(const c10::Storage& storage);

// Whether the memory may leave: torch's allocator gave it, and nobody but `members` tensors holds
// the storage. A view kept by a graph, an array of numpy or another process would notice.
bool can_move(const c10::Storage& storage, size_t members);

c10::DataPtr allocate(size_t bytes, c10::Device device);

// Takes the memory out; the storage is left without.
c10::DataPtr take(c10::StorageImpl& storage);
void give(c10::StorageImpl& storage, c10::DataPtr memory) noexcept;
// Gives the memory up. Whoever touches the data now gets torch's error, where a plain null would
// crash.
void leave_without(c10::StorageImpl& storage);
bool has_memory(const c10::StorageImpl& storage);
// `owner` gets the memory of `borrower`, which goes on using it.
void lend(c10::StorageImpl& borrower, c10::StorageImpl& owner);

}  // namespace storm
