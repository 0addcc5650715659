#include "sim/segment_memory.h"

#include <sys/mman.h>

#include "sim/settings.h"

namespace storm::sim {

char* map_segment(size_t bytes) noexcept {
  // Ghost memory is addresses only: touching it is a crash, not a wrong number.
  const int access = settings().ghost ? PROT_NONE : PROT_READ | PROT_WRITE;
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (settings().ghost ? MAP_NORESERVE : 0);
  void* data = mmap(nullptr, bytes, access, flags, -1, 0);
  return data == MAP_FAILED ? nullptr : static_cast<char*>(data);
}

void unmap_segment(char* data, size_t bytes) noexcept {
  munmap(data, bytes);
}

}  // namespace storm::sim
