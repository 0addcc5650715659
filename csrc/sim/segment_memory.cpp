#include "sim/segment_memory.h"

#include <sys/mman.h>

namespace storm::sim {

char* map_segment(size_t bytes) noexcept {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return data == MAP_FAILED ? nullptr : static_cast<char*>(data);
}

void unmap_segment(char* data, size_t bytes) noexcept {
  munmap(data, bytes);
}

}  // namespace storm::sim
