// The simulated devices: each has its streams, one copy engine per direction and an error slot.
#pragma once

#include <c10/core/Stream.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "sim/copy_engine.h"
#include "sim/device_type.h"
#include "sim/fault.h"
#include "sim/sim.h"
#include "sim/stream.h"

namespace storm::sim {

using c10::DeviceIndex;

class Device {
 public:
  explicit Device(DeviceIndex index);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  Stream& stream(c10::StreamId id);
  // Dealt out in turn, urgent ones from a half of their own, as torch's pools do: who asks without
  // a priority never meets those who ask with one.
  c10::StreamId new_stream_id(bool urgent) noexcept;
  CopyEngine& d2h() noexcept { return d2h_; }
  CopyEngine& h2d() noexcept { return h2d_; }

  // Blocks until all streams are done with what was pushed before the call; raises a kernel's
  // error.
  void synchronize();
  void synchronize(c10::StreamId id);
  void synchronize_implicitly(c10::StreamId id);  // see Stream::drain_implicitly
  void raise_fault() { faults_.raise_if_any(); }
  void check_alive() const { faults_.check_alive(); }
  void revive() noexcept;  // of a lost device only; blocks until its streams are empty
  void quiesce(TimePoint deadline);

 private:
  struct Streams;  // how they are kept: the double of CUDA's runtime has another way
  std::vector<Stream*> all_streams() const;

  FaultSlot faults_;
  std::unique_ptr<Streams> streams_;
  std::atomic<uint32_t> ordinary_handed_out_{0};
  std::atomic<uint32_t> urgent_handed_out_{0};
  CopyEngine d2h_;
  CopyEngine h2d_;
};

DeviceIndex device_count() noexcept;
Device& device(DeviceIndex index);

// The calling thread's current device and its current stream of each device.
DeviceIndex current_device() noexcept;
void set_current_device(DeviceIndex index) noexcept;
c10::Stream current_stream(DeviceIndex index = -1) noexcept;
void set_current_stream(const c10::Stream& stream) noexcept;

c10::Stream make_stream(DeviceIndex index, c10::StreamId id) noexcept;
Stream& stream_of(const c10::Stream& stream);
inline Stream& current_queue() {
  return stream_of(current_stream());
}

// Makes `index` the calling thread's device for a scope.
class CurrentDevice {
 public:
  explicit CurrentDevice(DeviceIndex index) noexcept : previous_(current_device()) {
    set_current_device(index);
  }
  CurrentDevice(const CurrentDevice&) = delete;
  CurrentDevice& operator=(const CurrentDevice&) = delete;
  ~CurrentDevice() { set_current_device(previous_); }

 private:
  DeviceIndex previous_;
};

}  // namespace storm::sim
