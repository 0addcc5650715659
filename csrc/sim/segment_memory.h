// Host memory that stands for a device's.
#pragma once

#include <cstddef>

namespace storm::sim {

// Null if this computer has none left.
char* map_segment(size_t bytes) noexcept;
void unmap_segment(char* data, size_t bytes) noexcept;  // goes back to the system at once

}  // namespace storm::sim
