#include "engine/storm_system.h"

#include <c10/core/CachingDeviceAllocator.h>

#include "base/bytes.h"
#include "base/check.h"
#include "engine/offloaded_storage.h"
#include "transfer/host_memory.h"
#include "transfer/range.h"

namespace storm {
namespace {

std::shared_ptr<Transfers> make_transfers(c10::Device device, const OffloadConfig& config,
                                          std::shared_ptr<HostMemorySource> memory) {
  TORCH_CHECK_VALUE(device.has_index() && !device.is_cpu(),
                    "offloading needs an accelerator with an index, got ", device);
  size_t total = 0;
  if (auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()))) {
    total = allocator->getMemoryInfo(device.index()).second;
  }
  config.validate(device, total);
  auto pool = PinnedMemoryPool::create(std::move(memory), {config.slab_bytes, config.host_bytes});
  return std::make_shared<Transfers>(device, std::move(pool), config.window_bytes,
                                     config.measure_stalls);
}

}  // namespace

StormSystem::StormSystem(c10::Device device, OffloadConfig config)
    : StormSystem(device, config, host_memory_of(device)) {}

StormSystem::StormSystem(c10::Device device, OffloadConfig config,
                         std::shared_ptr<HostMemorySource> memory)
    : config_(config),
      transfers_(make_transfers(device, config, std::move(memory))),
      tail_(config.keep_last_bytes) {
  register_holder(device, transfers_);
}

std::optional<PinnedMemoryBuffer> StormSystem::acquire_host(size_t bytes) {
  for (;;) {
    if (auto buffer = pool().try_acquire(bytes, Layout::pieces)) return buffer;
    const Range range(device().type(), "storm::wait_for_host_memory");
    const double began = Recorder::now();
    if (!pool().wait_for_oldest()) return std::nullopt;
    if (const auto recorder = Recorder::active())
      recorder->host_stalled(current_label(), began, Recorder::now());
  }
}

std::shared_ptr<OffloadedStorage> StormSystem::send(const at::Tensor& tensor, ByteRange range) {
  if (config_.pack_bool && fits_bits(tensor, range)) {
    if (auto host = acquire_host(wire_bytes(Wire::bits, range.bytes()))) {
      try {
        return std::make_shared<OffloadedStorage>(transfers_, tensor, range, Wire::bits,
                                                  std::move(*host));
      } catch (const c10::OutOfMemoryError&) {  // not even for the bits: bytes need no room
      }
    }
  }
  auto host = acquire_host(range.bytes());
  if (!host) return nullptr;
  return std::make_shared<OffloadedStorage>(transfers_, tensor, range, Wire::raw, std::move(*host));
}

void StormSystem::check_open() const {
  TORCH_CHECK(
      !closed(), "this offload context of ", device(),
      " is closed and saves no more tensors: create a new one with pamiq_storm.offload(...)");
}

void StormSystem::close() {
  closed_.store(true, std::memory_order_release);
  transfers_->in_flight.let_go_all();
  pool().trim();
}

void StormSystem::check_invariants() {
  pool().check_invariants();
  transfers_->in_flight.check_invariants();
}

}  // namespace storm
