// csrc/sim/device.h for CUDA: the thread's device and stream are those of torch, and streams are
// made when torch makes them. A c10::StreamId is torch's, which has CUDA's handle in it.
#include "sim/device.h"

#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

#include <deque>
#include <vector>

#include "allocator_watch.h"
#include "sim/counters.h"
#include "sim/settings.h"
#include "streams.h"

namespace storm::sim {

struct Device::Streams : cuda_double::StreamTable {
  Streams(int device, FaultSlot& faults) : StreamTable(device, faults), device(device) {}
  const int device;
};

Device::Device(DeviceIndex index)
    : faults_(index),
      streams_(std::make_unique<Streams>(index, faults_)),
      d2h_(counters().d2h),
      h2d_(counters().h2d) {}

Device::~Device() = default;

Stream& Device::stream(c10::StreamId id) {
  return stream_of(make_stream(static_cast<DeviceIndex>(streams_->device), id));
}

std::vector<Stream*> Device::all_streams() const {
  return streams_->all();
}

Device& device(DeviceIndex index) {
  static auto* all = [] {
    auto* made = new std::deque<Device>;  // leaked: threads use it at exit
    for (DeviceIndex i = 0; i < kMaxDevices; ++i) made->emplace_back(i);
    return made;
  }();
  TORCH_CHECK(index >= 0 && index < device_count(), "the CUDA double has no device ", int{index},
              "; devices: ", int{device_count()});
  return (*all)[static_cast<size_t>(index)];
}

DeviceIndex current_device() noexcept {
  return c10::cuda::current_device();
}

void set_current_device(DeviceIndex index) noexcept {
  c10::cuda::set_device(index);
}

c10::Stream current_stream(DeviceIndex index) noexcept {
  return c10::cuda::getCurrentCUDAStream(index).unwrap();
}

void set_current_stream(const c10::Stream& stream) noexcept {
  c10::cuda::setCurrentCUDAStream(c10::cuda::CUDAStream(stream));
}

c10::Stream make_stream(DeviceIndex index, c10::StreamId id) noexcept {
  return c10::Stream(c10::Stream::UNSAFE, c10::Device(kDeviceType, index), id);
}

Stream& stream_of(const c10::Stream& stream) {
  cuda_double::no_block_is_being_freed();
  return cuda_double::stream_of(stream.device_index(), c10::cuda::CUDAStream(stream).stream());
}

}  // namespace storm::sim
