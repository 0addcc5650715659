// Device memory. What torch sees are addresses that fault when the host touches them; each has an
// alias at a fixed distance, where kernels and copies find the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>

namespace cuda_double {

class Arena {
 public:
  static constexpr size_t kDevices = 8;
  static constexpr size_t kPerDevice = size_t{64} << 30;  // of addresses; the limit is a setting
  static constexpr size_t kGrain = size_t{2} << 20;

  static Arena& instance();  // leaked: streams use it to the end

  // `address` itself if it is no device address.
  static const void* bytes_behind(const void* address) noexcept {
    const auto offset = reinterpret_cast<uintptr_t>(address) - begin_;
    return offset < kDevices * kPerDevice
               ? static_cast<const char*>(address) + kDevices * kPerDevice
               : address;
  }
  static void* bytes_behind(void* address) noexcept {
    return const_cast<void*>(bytes_behind(static_cast<const void*>(address)));
  }

  // -1 if it is none of ours.
  static int device_of(const void* address) noexcept;

  void* take(int device, size_t bytes);  // null if there is no room
  size_t give_back(void* begin);         // its bytes; 0 if nothing begins there
  bool is_taken(const void* begin, size_t bytes) const;
  size_t used(int device) const;

 private:
  Arena();

  static uintptr_t begin_;

  struct Segments {
    std::map<size_t, size_t> taken;  // offset -> bytes
    std::map<size_t, size_t> free;   // likewise; neighbours are joined
    size_t used = 0;
  };
  mutable std::mutex mutex_;  // guards segments_
  Segments segments_[kDevices];
};

}  // namespace cuda_double
