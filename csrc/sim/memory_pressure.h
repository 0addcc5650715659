// Asking others to give memory back before an allocation fails.
#pragma once

#include <c10/core/Device.h>

namespace storm::sim {

// Calls what on_memory_pressure() registered, if anything. True if the allocation should be tried
// again. No lock may be held. An allocation made by the callback itself does not call it again.
bool relieve_memory_pressure(c10::Device device) noexcept;

}  // namespace storm::sim
