#include "sim/device.h"

#include <c10/util/Exception.h>

#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "sim/counters.h"

namespace storm::sim {
namespace {

struct ThreadState {
  DeviceIndex device = 0;
  std::array<c10::StreamId, kMaxDevices> streams{};
};

thread_local ThreadState t_state;

std::deque<Device>& devices() {
  static auto* instance = [] {
    auto* all = new std::deque<Device>;  // leaked: threads use it at exit
    for (DeviceIndex i = 0; i < kMaxDevices; ++i) all->emplace_back(i);
    return all;
  }();
  return *instance;
}

}  // namespace

struct Device::Streams {
  std::vector<std::unique_ptr<Stream>> all;
};

Device::Device(DeviceIndex index)
    : faults_(index),
      streams_(std::make_unique<Streams>()),
      d2h_(counters().d2h),
      h2d_(counters().h2d) {
  for (int i = 0; i < kStreamsPerDevice; ++i) {
    streams_->all.push_back(make_stream_of_kind({index, i}, faults_));
  }
}

Device::~Device() = default;

Stream& Device::stream(c10::StreamId id) {
  TORCH_INTERNAL_ASSERT(id >= 0 && id < kStreamsPerDevice, "sim: no stream ", id);
  return *streams_->all[static_cast<size_t>(id)];
}

c10::StreamId Device::new_stream_id(bool urgent) noexcept {
  constexpr int ordinary = 1 + kStreamsPerDevice / 2;  // 0 is the default stream
  if (urgent) return ordinary + urgent_handed_out_++ % (kStreamsPerDevice - ordinary);
  return 1 + ordinary_handed_out_++ % (ordinary - 1);
}

std::vector<Stream*> Device::all_streams() const {
  std::vector<Stream*> all;
  for (const auto& stream : streams_->all) all.push_back(stream.get());
  return all;
}

Device& device(DeviceIndex index) {
  TORCH_CHECK(index >= 0 && index < device_count(), "sim: there is no device ", int{index},
              "; devices: ", int{device_count()});
  return devices()[static_cast<size_t>(index)];
}

DeviceIndex current_device() noexcept {
  return t_state.device;
}

void set_current_device(DeviceIndex index) noexcept {
  if (index >= 0 && index < kMaxDevices) t_state.device = index;
}

c10::Stream current_stream(DeviceIndex index) noexcept {
  if (index < 0) index = t_state.device;
  return make_stream(index, t_state.streams[static_cast<size_t>(index)]);
}

void set_current_stream(const c10::Stream& stream) noexcept {
  t_state.streams[static_cast<size_t>(stream.device_index())] = stream.id();
}

c10::Stream make_stream(DeviceIndex index, c10::StreamId id) noexcept {
  return c10::Stream(c10::Stream::UNSAFE, c10::Device(kDeviceType, index), id);
}

Stream& stream_of(const c10::Stream& stream) {
  return device(stream.device_index()).stream(stream.id());
}

}  // namespace storm::sim
