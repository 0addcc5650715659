#include "arena.h"

#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <iterator>

namespace cuda_double {

uintptr_t Arena::begin_ = 0;

Arena& Arena::instance() {
  static auto* instance = new Arena;
  return *instance;
}

Arena::Arena() {
  constexpr size_t half = kDevices * kPerDevice;
  void* all =
      mmap(nullptr, 2 * half, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  TORCH_CHECK(all != MAP_FAILED, "the CUDA double cannot reserve ", 2 * half,
              " bytes of addresses");
  begin_ = reinterpret_cast<uintptr_t>(all);
  mprotect(static_cast<char*>(all) + half, half, PROT_READ | PROT_WRITE);
  for (auto& of_device : segments_) of_device.free.emplace(0, kPerDevice);
}

int Arena::device_of(const void* address) noexcept {
  const auto offset = reinterpret_cast<uintptr_t>(address) - begin_;
  return offset < kDevices * kPerDevice ? static_cast<int>(offset / kPerDevice) : -1;
}

void* Arena::take(int device, size_t bytes) {
  const size_t size = (bytes + kGrain - 1) / kGrain * kGrain;
  std::lock_guard lock(mutex_);
  auto& [taken, free, used] = segments_[device];
  for (auto hole = free.begin(); hole != free.end(); ++hole) {
    const auto [offset, room] = *hole;
    if (room < size) continue;
    free.erase(hole);
    if (room > size) free.emplace(offset + size, room - size);
    taken.emplace(offset, size);
    used += size;
    return reinterpret_cast<void*>(begin_ + static_cast<size_t>(device) * kPerDevice + offset);
  }
  return nullptr;
}

size_t Arena::give_back(void* begin) {
  const int device = device_of(begin);
  if (device < 0) return 0;
  std::lock_guard lock(mutex_);
  auto& [taken, free, used] = segments_[device];
  const auto found = taken.find((reinterpret_cast<uintptr_t>(begin) - begin_) % kPerDevice);
  if (found == taken.end()) return 0;
  const auto [offset, size] = *found;
  taken.erase(found);
  used -= size;
  madvise(bytes_behind(begin), size, MADV_DONTNEED);
  auto hole = free.emplace(offset, size).first;
  const auto next = std::next(hole);
  if (next != free.end() && offset + size == next->first) {
    hole->second += next->second;
    free.erase(next);
  }
  if (hole != free.begin()) {
    const auto previous = std::prev(hole);
    if (previous->first + previous->second == offset) {
      previous->second += hole->second;
      free.erase(hole);
    }
  }
  return size;
}

bool Arena::is_taken(const void* begin, size_t bytes) const {
  const int device = device_of(begin);
  if (device < 0) return false;
  const size_t offset = (reinterpret_cast<uintptr_t>(begin) - begin_) % kPerDevice;
  std::lock_guard lock(mutex_);
  const auto& taken = segments_[device].taken;
  const auto after = taken.upper_bound(offset);
  if (after == taken.begin()) return false;
  const auto& [first, size] = *std::prev(after);
  return offset + bytes <= first + size;
}

size_t Arena::used(int device) const {
  std::lock_guard lock(mutex_);
  return segments_[device].used;
}

}  // namespace cuda_double
