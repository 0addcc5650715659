#include "sim/device_allocator.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "sim/counters.h"
#include "sim/device.h"
#include "sim/injection.h"
#include "sim/lifecycle.h"
#include "sim/memory_pressure.h"
#include "sim/races/detector.h"
#include "sim/segment_memory.h"
#include "sim/settings.h"
#include "sim/timing/timeline.h"
#include "sim/timing/virtual_time.h"

namespace storm::sim {
namespace {

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

StreamName name_of(const Owner& owner) {
  return {owner.device, owner.stream};
}

c10::DeviceIndex known(c10::DeviceIndex index) {
  return index < 0 ? current_device() : index;
}

}  // namespace

REGISTER_ALLOCATOR(kDeviceType, &DeviceAllocator::instance())

DeviceAllocator& DeviceAllocator::instance() {
  static auto* instance = new DeviceAllocator;
  return *instance;
}

c10::DataPtr DeviceAllocator::allocate(size_t bytes) {
  const auto index = current_device();
  const c10::Device where(kDeviceType, index);
  if (bytes == 0) return {nullptr, nullptr, &free_block, where};
  check_usable();
  device(index).check_alive();
  refuse_if_injected(index, bytes);
  const Request request{{index, current_stream(index).id()}, bytes};
  char* data = obtain(request);
  while (data == nullptr && relieve_memory_pressure(where)) data = obtain(request);
  if (data == nullptr) raise_out_of_memory(request);
  if (detector().on()) detector().device_block_taken(name_of(request.owner), data, request.bytes());
  note_memory(index);
  return {data, data, &free_block, where};
}

char* DeviceAllocator::obtain(const Request& request) {
  collect_finished();
  if (char* data = from_cache(request)) return data;
  if (char* data = from_system(request)) return data;
  {
    std::lock_guard lock(mutex_);
    pool_.stats(request.owner.device).retried();
  }
  give_back_unused(request.owner.device);
  // What has been waited for may have made a block that fits.
  if (char* data = from_cache(request)) return data;
  return from_system(request);
}

char* DeviceAllocator::from_cache(const Request& request) {
  std::lock_guard lock(mutex_);
  return pool_.take(request);
}

// The lock is held while the system is asked for memory, which only reserves addresses, so that two
// threads cannot exceed the limit together.
char* DeviceAllocator::from_system(const Request& request) {
  const size_t bytes = request.segment_bytes();
  const auto limit = static_cast<size_t>(settings().memory_bytes.load());
  std::lock_guard lock(mutex_);
  if (limit != 0 && pool_.stats(request.owner.device).reserved() + bytes > limit) return nullptr;
  char* segment = map_segment(bytes);
  if (segment == nullptr) return nullptr;
  virtual_time().charge_device_malloc();
  return pool_.take_from(segment, request);
}

void DeviceAllocator::raise_out_of_memory(const Request& request) {
  const auto index = request.owner.device;
  size_t allocated = 0;
  size_t reserved = 0;
  {
    std::lock_guard lock(mutex_);
    auto& stats = pool_.stats(index);
    stats.ran_out();
    allocated = stats.allocated();
    reserved = stats.reserved();
  }
  const size_t limit = capacity();
  TORCH_CHECK_WITH(
      OutOfMemoryError, false, "sim:", int{index}, " out of memory. Tried to allocate ",
      readable(request.asked), ", which takes a segment of ", readable(request.segment_bytes()),
      "; of the limit of ", readable(limit), ", ", readable(allocated), " are in use, ",
      readable(reserved - std::min(reserved, allocated)), " are reserved besides and ",
      readable(limit - std::min(limit, reserved)),
      " are free. Use smaller batches, offload activations with pamiq_storm.offload, or raise the "
      "limit with pamiq_storm.sim.configure(memory=...).");
}

// The block is not handed out before the uses that record_stream named are over: they need no edge.
void DeviceAllocator::tell_detector(const Pending& freed) {
  if (!detector().on()) return;
  std::vector<Moment> moments;
  for (const auto& use : freed.uses) moments.push_back(use->known());
  detector().block_over(freed.data, freed.bytes, moments);
  detector().device_block_freed(name_of(freed.owner), freed.data, freed.bytes);
}

void DeviceAllocator::free_block(void* data) noexcept {
  if (data == nullptr || !running()) return;  // at exit the system takes everything back
  try {
    instance().release(static_cast<char*>(data));
  } catch (const std::exception& error) {
    TORCH_WARN("sim: device memory was not released: ", error.what());
  }
}

void DeviceAllocator::release(char* data) {
  Owner owner;
  size_t bytes = 0;
  std::vector<c10::StreamId> users;
  {
    std::lock_guard lock(mutex_);
    Block& block = pool_.drop(data);
    owner = block.owner;
    bytes = block.bytes;
    users.swap(block.users);
  }
  note_memory(owner.device);
  Pending pending{data, bytes, owner, {}};
  for (const auto id : users) pending.uses.push_back(device(owner.device).stream(id).record());
  tell_detector(pending);
  if (pending.uses.empty()) return retire(data, bytes, owner);
  std::lock_guard lock(mutex_);
  pending_.push_back(std::move(pending));
  any_pending_ = true;
}

// The poison goes ahead of whatever uses the block next: that is of the same stream.
void DeviceAllocator::retire(char* data, size_t bytes, const Owner& owner) {
  if (settings().poison && !settings().ghost) {
    device(owner.device)
        .stream(owner.stream)
        .push(Task(TaskKind::housekeeping, "poison", [data, bytes] {
          std::memset(data, 0xFF, bytes);  // NaN, -1
        }));
  }
  std::lock_guard lock(mutex_);
  pool_.retire(data);
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
  for (const auto& p : finished) retire(p.data, p.bytes, p.owner);
}

void DeviceAllocator::note_memory(c10::DeviceIndex index) {
  if (!timeline().on()) return;
  std::lock_guard lock(mutex_);
  const auto& stats = pool_.stats(index);
  timeline().add(MemoryPoint{nanoseconds(now().time_since_epoch()),
                             static_cast<int64_t>(stats.allocated()),
                             static_cast<int64_t>(stats.reserved())});
}

void DeviceAllocator::wait_for_pending(c10::DeviceIndex index) {
  std::vector<MarkerRef> uses;
  {
    std::lock_guard lock(mutex_);
    pool_.stats(index).waited_for_streams();
    for (const auto& pending : pending_) {
      if (pending.owner.device != index) continue;
      uses.insert(uses.end(), pending.uses.begin(), pending.uses.end());
    }
  }
  for (const auto& use : uses) use->wait();
  collect_finished();
}

void DeviceAllocator::give_back_unused(c10::DeviceIndex index) {
  if (!running()) return;  // at exit no stream gets anywhere
  wait_for_pending(index);
  std::vector<Segment> unused;
  {
    std::lock_guard lock(mutex_);
    unused = pool_.take_unused(index);
  }
  std::vector<MarkerRef> last_uses;
  for (const auto& segment : unused) {
    last_uses.push_back(device(index).stream(segment.owner.stream).record());
  }
  for (const auto& use : last_uses) use->wait();
  for (const auto& segment : unused) {
    if (detector().on()) detector().forget(segment.data, segment.bytes);
    virtual_time().charge_device_free();
    unmap_segment(segment.data, segment.bytes);
  }
}

void DeviceAllocator::recordStream(const c10::DataPtr& data, c10::Stream stream) {
  std::lock_guard lock(mutex_);
  Block* block = pool_.find(data.get_context());
  if (block == nullptr || block->owner.stream == stream.id()) return;
  auto& users = block->users;
  if (std::find(users.begin(), users.end(), stream.id()) == users.end()) {
    users.push_back(stream.id());
  }
}

c10::DeleterFnPtr DeviceAllocator::raw_deleter() const {
  return &free_block;
}

void DeviceAllocator::copy_data(void* to, const void* from, size_t bytes) const {
  const auto effects = Effects().reads(from, bytes).writes(to, bytes);
  current_queue().push(Task(TaskKind::kernel, "copy_data", [=] { std::memcpy(to, from, bytes); }),
                       effects, Work::over(effects));
}

void DeviceAllocator::emptyCache(c10::MempoolId_t) {
  for (DeviceIndex i = 0; i < device_count(); ++i) give_back_unused(i);
}

c10::CachingDeviceAllocator::DeviceStats DeviceAllocator::getDeviceStats(c10::DeviceIndex index) {
  std::lock_guard lock(mutex_);
  return pool_.stats(known(index)).all();
}

void DeviceAllocator::resetAccumulatedStats(c10::DeviceIndex index) {
  std::lock_guard lock(mutex_);
  pool_.stats(known(index)).reset_accumulated();
}

void DeviceAllocator::resetPeakStats(c10::DeviceIndex index) {
  std::lock_guard lock(mutex_);
  pool_.stats(known(index)).reset_peaks();
}

std::pair<size_t, size_t> DeviceAllocator::getMemoryInfo(c10::DeviceIndex index) {
  const size_t total = capacity();
  std::lock_guard lock(mutex_);
  return {total - std::min(total, pool_.stats(known(index)).reserved()), total};
}

c10::DeviceIndex DeviceAllocator::device_of(const void* address) {
  std::lock_guard lock(mutex_);
  const auto found = pool_.device_of(address);
  TORCH_CHECK(found.has_value(), "sim: this address is not device memory");
  return *found;
}

}  // namespace storm::sim
