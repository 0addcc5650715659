#pragma once
#include <memory>

#include "engine/config.h"
#include "engine/geometry.h"
#include "engine/stats.h"
#include "engine/tail.h"
#include "engine/transfers.h"
#include "host/pinned_pool.h"

namespace storm {

class OffloadedStorage;

// One device's engine: its streams, its host memory, its counters, what it has learned. Any number
// of contexts and threads save through it. Offloaded tensors outlive it: they own what they need.
class StormSystem {
 public:
  StormSystem(c10::Device device, OffloadConfig config);
  StormSystem(c10::Device device, OffloadConfig config, std::shared_ptr<HostMemorySource> memory);

  c10::Device device() const { return transfers_->device; }
  const OffloadConfig& config() const { return config_; }
  const std::shared_ptr<Transfers>& transfers() const { return transfers_; }
  PinnedMemoryPool& pool() const { return *transfers_->pool; }
  Tail& tail() { return tail_; }

  // Host memory for an offload, or nothing when the cap allows none even after every copy that is
  // on its way back is over. May block the host on such copies, with the GIL dropped.
  std::optional<PinnedMemoryBuffer> acquire_host(size_t bytes);

  // Queues the copy of `range` of the tensor's storage to the host, as bits where that is asked for
  // and possible; null when there is no host memory for it, as above.
  std::shared_ptr<OffloadedStorage> send(const at::Tensor& tensor, ByteRange range);

  // Refuses further saves; tensors saved before can still be fetched.
  void close();
  bool closed() const { return closed_.load(std::memory_order_acquire); }
  void check_open() const;

  EngineStats engine_stats() const { return transfers_->counters.snapshot(); }
  double stall_seconds() const { return transfers_->stalls.seconds(); }
  void check_invariants();

 private:
  const OffloadConfig config_;
  const std::shared_ptr<Transfers> transfers_;
  Tail tail_;
  std::atomic<bool> closed_{false};
};

}  // namespace storm
