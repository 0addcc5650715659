// Device memory: a limit, statistics, stream-ordered reuse and poison. block_pool.h has the policy.
#pragma once

#include <c10/core/CachingDeviceAllocator.h>

#include <atomic>
#include <list>
#include <mutex>
#include <vector>

#include "sim/block_pool.h"
#include "sim/event.h"

namespace storm::sim {

class DeviceAllocator final : public c10::DeviceAllocator {
 public:
  static DeviceAllocator& instance();

  // Charges the current device and ties the block to its current stream. Raises OutOfMemoryError.
  // Blocks only if memory in use by streams has to be waited for.
  c10::DataPtr allocate(size_t bytes) override;
  c10::DeleterFnPtr raw_deleter() const override;
  void copy_data(void* to, const void* from, size_t bytes) const override;  // on the current stream
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t pool = {0, 0}) override;  // blocks until its streams are done
  void recordStream(const c10::DataPtr& data, c10::Stream stream) override;
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override;
  void resetAccumulatedStats(c10::DeviceIndex device) override;
  void resetPeakStats(c10::DeviceIndex device) override;
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override;

  // The device whose memory holds `address`; raises if there is none.
  c10::DeviceIndex device_of(const void* address);

 private:
  struct Pending {  // freed by the host, still in use on foreign streams
    char* data;
    size_t bytes;
    Owner owner;
    std::vector<MarkerRef> uses;
  };

  static void free_block(void* data) noexcept;
  void release(char* data);
  void retire(char* data, size_t bytes, const Owner& owner);
  char* obtain(const Request& request);
  char* from_cache(const Request& request);
  char* from_system(const Request& request);
  void collect_finished();
  static void tell_detector(const Pending& freed);
  void note_memory(c10::DeviceIndex device);
  void wait_for_pending(c10::DeviceIndex device);
  void give_back_unused(c10::DeviceIndex device);
  [[noreturn]] void raise_out_of_memory(const Request& request);

  std::mutex mutex_;  // guards pool_, pending_ and writes of any_pending_
  BlockPool pool_;
  std::list<Pending> pending_;
  std::atomic<bool> any_pending_{false};
};

}  // namespace storm::sim
