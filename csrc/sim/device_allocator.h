// Device memory: a limit, statistics, stream-ordered reuse and poison.
#pragma once

#include <c10/core/CachingDeviceAllocator.h>

#include <array>
#include <atomic>
#include <list>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "sim/block_cache.h"
#include "sim/event.h"
#include "sim/sim.h"

namespace storm::sim {

class DeviceAllocator final : public c10::DeviceAllocator {
 public:
  static DeviceAllocator& instance();

  // Charges the current device and ties the block to its current stream. Raises OutOfMemoryError.
  c10::DataPtr allocate(size_t bytes) override;
  c10::DeleterFnPtr raw_deleter() const override;
  void copy_data(void* to, const void* from, size_t bytes) const override;  // on the current stream
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t pool = {0, 0}) override;
  void recordStream(const c10::DataPtr& data, c10::Stream stream) override;
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override;
  void resetAccumulatedStats(c10::DeviceIndex device) override;
  void resetPeakStats(c10::DeviceIndex device) override;
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override;

  // The device whose memory holds `address`; raises if there is none.
  c10::DeviceIndex device_of(const void* address);

 private:
  struct Live {
    Block block;
    std::vector<c10::StreamId> users;  // foreign streams named by recordStream
  };
  struct Pending {  // freed by the host, still in use on foreign streams
    Block block;
    std::vector<MarkerRef> uses;
  };
  using DeviceStats = c10::CachingDeviceAllocator::DeviceStats;

  static void free_block(void* data) noexcept;
  void release(void* data);
  void retire(const Block& block);
  void collect_finished();
  void wait_for_pending(c10::DeviceIndex device);
  bool try_charge(const Block& block);
  void uncharge(const Block& block);
  [[noreturn]] void raise_out_of_memory(c10::DeviceIndex device, size_t bytes);
  void obtain_memory(Block& block);

  std::mutex mutex_;  // guards all that follows
  std::unordered_map<void*, Live> live_;
  std::list<Pending> pending_;
  BlockCache cache_;
  std::array<DeviceStats, kMaxDevices> stats_;
  size_t live_bytes_ = 0;       // of all devices
  size_t peak_live_bytes_ = 0;  // bounds what the cache may hold
  std::atomic<bool> any_pending_{false};
};

}  // namespace storm::sim
