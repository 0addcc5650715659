#include "sim/device_allocator.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "sim/device.h"
#include "sim/injection.h"
#include "sim/lifecycle.h"
#include "sim/settings.h"

namespace storm::sim {
namespace {

constexpr size_t kAlignment = 512;
constexpr size_t kCacheFloor = size_t{64} << 20;
constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

size_t round_up(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

std::string readable(size_t bytes) {
  constexpr double kMiB = 1 << 20;
  char text[32];
  std::snprintf(text, sizeof text, "%.2f MiB", static_cast<double>(bytes) / kMiB);
  return text;
}

size_t capacity() {
  const auto limit = static_cast<size_t>(settings().memory_bytes.load());
  if (limit != 0) return limit;
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
}

void refuse_if_injected(c10::DeviceIndex index, size_t bytes) {
  TORCH_CHECK_WITH(OutOfMemoryError, !injected(&Faults::allocation), "sim:", int{index},
                   " out of memory. Tried to allocate ", readable(bytes),
                   "; injected by pamiq_storm.sim.inject");
}

// Device memory goes back to the system, or is overwritten, when its stream gets there.
void push_housekeeping(const Block& block, const char* name, void (*act)(const Block&)) {
  device(block.device).stream(block.stream).push(Task(TaskKind::housekeeping, name, [block, act] {
    act(block);
  }));
}

void poison(const Block& block) {
  std::memset(block.data, 0xFF, block.bytes);
}  // NaN, -1
void give_back(const Block& block) {
  std::free(block.data);
}

}  // namespace

REGISTER_ALLOCATOR(kDeviceType, &DeviceAllocator::instance())

DeviceAllocator& DeviceAllocator::instance() {
  static auto* instance = new DeviceAllocator;
  return *instance;
}

c10::DataPtr DeviceAllocator::allocate(size_t requested) {
  const auto index = current_device();
  const c10::Device where(kDeviceType, index);
  if (requested == 0) return {nullptr, nullptr, &free_block, where};
  check_usable();
  device(index).check_alive();
  refuse_if_injected(index, requested);
  Block block{nullptr, round_up(requested), requested, index, current_stream(index).id()};
  collect_finished();
  if (!try_charge(block)) {
    wait_for_pending(index);
    if (!try_charge(block)) raise_out_of_memory(index, block.bytes);
  }
  obtain_memory(block);
  {
    std::lock_guard lock(mutex_);
    live_.emplace(block.data, Live{block, {}});
  }
  return {block.data, block.data, &free_block, where};
}

void DeviceAllocator::obtain_memory(Block& block) {
  {
    std::lock_guard lock(mutex_);
    if (const auto cached = cache_.take(block.bytes, block.device, block.stream)) {
      block.data = cached->data;
      return;
    }
  }
  block.data = std::aligned_alloc(kAlignment, block.bytes);
  if (block.data != nullptr) return;
  uncharge(block);
  TORCH_CHECK_WITH(OutOfMemoryError, false, "sim: this computer has no ", readable(block.bytes),
                   " left to stand for device memory");
}

bool DeviceAllocator::try_charge(const Block& block) {
  const auto limit = static_cast<size_t>(settings().memory_bytes.load());
  std::lock_guard lock(mutex_);
  auto& s = stats_[static_cast<size_t>(block.device)];
  const auto in_use = static_cast<size_t>(s.allocated_bytes[kAll].current);
  if (limit != 0 && in_use + block.bytes > limit) return false;
  for (auto* a : {&s.allocated_bytes, &s.reserved_bytes, &s.active_bytes}) {
    (*a)[kAll].increase(block.bytes);
  }
  for (auto* a : {&s.allocation, &s.active, &s.segment}) (*a)[kAll].increase(1);
  s.requested_bytes[kAll].increase(block.requested);
  ++s.num_device_alloc;
  live_bytes_ += block.bytes;
  peak_live_bytes_ = std::max(peak_live_bytes_, live_bytes_);
  return true;
}

void DeviceAllocator::uncharge(const Block& block) {
  std::lock_guard lock(mutex_);
  auto& s = stats_[static_cast<size_t>(block.device)];
  for (auto* a : {&s.allocated_bytes, &s.reserved_bytes, &s.active_bytes}) {
    (*a)[kAll].decrease(block.bytes);
  }
  for (auto* a : {&s.allocation, &s.active, &s.segment}) (*a)[kAll].decrease(1);
  s.requested_bytes[kAll].decrease(block.requested);
  ++s.num_device_free;
  live_bytes_ -= block.bytes;
}

void DeviceAllocator::raise_out_of_memory(c10::DeviceIndex index, size_t bytes) {
  size_t in_use = 0;
  {
    std::lock_guard lock(mutex_);
    auto& s = stats_[static_cast<size_t>(index)];
    ++s.num_ooms;
    in_use = static_cast<size_t>(s.allocated_bytes[kAll].current);
  }
  const size_t limit = capacity();
  TORCH_CHECK_WITH(OutOfMemoryError, false, "sim:", int{index},
                   " out of memory. Tried to allocate ", readable(bytes), "; of the limit of ",
                   readable(limit), ", ", readable(in_use), " are in use and ",
                   readable(limit - std::min(limit, in_use)),
                   " are free. Use smaller batches, offload activations with "
                   "pamiq_storm.offload, or raise the limit with "
                   "pamiq_storm.sim.configure(memory=...).");
}

void DeviceAllocator::free_block(void* data) noexcept {
  if (data == nullptr || !running()) return;  // at exit the system takes everything back
  try {
    instance().release(data);
  } catch (const std::exception& error) {
    TORCH_WARN("sim: device memory was not released: ", error.what());
  }
}

void DeviceAllocator::release(void* data) {
  Live freed;
  {
    std::lock_guard lock(mutex_);
    const auto found = live_.find(data);
    TORCH_INTERNAL_ASSERT(found != live_.end(), "sim: freed a block that is not allocated");
    freed = std::move(found->second);
    live_.erase(found);
  }
  if (freed.users.empty()) return retire(freed.block);
  Pending pending{freed.block, {}};
  for (const auto id : freed.users) {
    pending.uses.push_back(device(freed.block.device).stream(id).record());
  }
  std::lock_guard lock(mutex_);
  pending_.push_back(std::move(pending));
  any_pending_ = true;
}

void DeviceAllocator::retire(const Block& block) {
  uncharge(block);
  if (settings().poison) push_housekeeping(block, "poison", poison);
  std::vector<Block> surplus;
  {
    std::lock_guard lock(mutex_);
    cache_.give(block);
    // The host runs ahead of its streams: without a bound, freed memory would pile up.
    const size_t ceiling = std::max(kCacheFloor, peak_live_bytes_ + peak_live_bytes_ / 2);
    surplus = cache_.shrink_to(ceiling - std::min(ceiling, live_bytes_));
  }
  for (const auto& old : surplus) push_housekeeping(old, "give_back", give_back);
}

void DeviceAllocator::collect_finished() {
  if (!any_pending_) return;
  std::list<Pending> finished;
  {
    std::lock_guard lock(mutex_);
    for (auto it = pending_.begin(); it != pending_.end();) {
      const auto here = it++;
      const bool over = std::all_of(here->uses.begin(), here->uses.end(),
                                    [](const MarkerRef& use) { return use->reached(); });
      if (over) finished.splice(finished.end(), pending_, here);
    }
    any_pending_ = !pending_.empty();
  }
  for (const auto& pending : finished) retire(pending.block);
}

void DeviceAllocator::wait_for_pending(c10::DeviceIndex index) {
  std::vector<MarkerRef> uses;
  {
    std::lock_guard lock(mutex_);
    ++stats_[static_cast<size_t>(index)].num_alloc_retries;
    for (const auto& pending : pending_) {
      uses.insert(uses.end(), pending.uses.begin(), pending.uses.end());
    }
  }
  for (const auto& use : uses) use->wait();
  collect_finished();
}

void DeviceAllocator::recordStream(const c10::DataPtr& data, c10::Stream stream) {
  std::lock_guard lock(mutex_);
  const auto found = live_.find(data.get_context());
  if (found == live_.end()) return;
  auto& [block, users] = found->second;
  const bool known = block.stream == stream.id() ||
                     std::find(users.begin(), users.end(), stream.id()) != users.end();
  if (!known) users.push_back(stream.id());
}

c10::DeleterFnPtr DeviceAllocator::raw_deleter() const {
  return &free_block;
}

void DeviceAllocator::copy_data(void* to, const void* from, size_t bytes) const {
  current_queue().push(Task(TaskKind::kernel, "copy_data", [=] { std::memcpy(to, from, bytes); }));
}

void DeviceAllocator::emptyCache(c10::MempoolId_t) {
  collect_finished();
  std::vector<Block> all;
  {
    std::lock_guard lock(mutex_);
    all = cache_.shrink_to(0);
    peak_live_bytes_ = live_bytes_;
  }
  for (const auto& block : all) push_housekeeping(block, "give_back", give_back);
}

c10::CachingDeviceAllocator::DeviceStats DeviceAllocator::getDeviceStats(c10::DeviceIndex index) {
  collect_finished();
  std::lock_guard lock(mutex_);
  return stats_[static_cast<size_t>(index < 0 ? current_device() : index)];
}

void DeviceAllocator::resetAccumulatedStats(c10::DeviceIndex index) {
  std::lock_guard lock(mutex_);
  auto& s = stats_[static_cast<size_t>(index)];
  for (auto* a : {&s.allocated_bytes, &s.reserved_bytes, &s.active_bytes, &s.requested_bytes,
                  &s.allocation, &s.active, &s.segment}) {
    (*a)[kAll].reset_accumulated();
  }
  s.num_alloc_retries = s.num_ooms = s.num_device_alloc = s.num_device_free = 0;
}

void DeviceAllocator::resetPeakStats(c10::DeviceIndex index) {
  std::lock_guard lock(mutex_);
  auto& s = stats_[static_cast<size_t>(index)];
  for (auto* a : {&s.allocated_bytes, &s.reserved_bytes, &s.active_bytes, &s.requested_bytes,
                  &s.allocation, &s.active, &s.segment}) {
    (*a)[kAll].reset_peak();
  }
}

std::pair<size_t, size_t> DeviceAllocator::getMemoryInfo(c10::DeviceIndex index) {
  const auto used = static_cast<size_t>(getDeviceStats(index).allocated_bytes[kAll].current);
  const size_t total = capacity();
  return {total - std::min(total, used), total};
}

c10::DeviceIndex DeviceAllocator::device_of(const void* address) {
  const auto* byte = static_cast<const char*>(address);
  std::lock_guard lock(mutex_);
  for (const auto& [data, live] : live_) {
    const auto* begin = static_cast<const char*>(data);
    if (begin <= byte && byte < begin + live.block.bytes) return live.block.device;
  }
  TORCH_CHECK(false, "sim: this address is not device memory");
}

}  // namespace storm::sim
