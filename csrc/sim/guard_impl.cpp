// c10's view of devices, streams and events: what c10::Stream, c10::Event and the guards call.
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "sim/capture.h"
#include "sim/counters.h"
#include "sim/device.h"
#include "sim/lifecycle.h"
#include "sim/races/detector.h"
#include "sim/schedule.h"
#include "sim/timing/virtual_time.h"

namespace storm::sim {
namespace {

// What c10::Event owns through a void pointer: the newest record, or nothing yet.
struct EventHandle {
  MarkerRef last;
  DeviceIndex device = 0;
};

EventHandle& handle(void* event) {
  return *static_cast<EventHandle*>(event);
}

DeviceIndex index_of(c10::Device device) {
  return device.has_index() ? device.index() : current_device();
}

// The host knows now that all before this moment is over.
void tell_detector(const Marker& marker) {
  if (detector().on() && marker.known()) detector().host_learns(marker.known());
}

class GuardImpl final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return kDeviceType; }

  c10::Device exchangeDevice(c10::Device to) const override {
    const auto from = getDevice();
    setDevice(to);
    return from;
  }
  c10::Device getDevice() const override { return {kDeviceType, current_device()}; }
  void setDevice(c10::Device to) const override {
    if (!to.has_index()) return;
    device(to.index());  // raises if there is none
    set_current_device(to.index());
  }
  void uncheckedSetDevice(c10::Device to) const noexcept override {
    set_current_device(to.index());
  }
  DeviceIndex deviceCount() const noexcept override { return device_count(); }
  c10::DeviceCapability getDeviceCapability(c10::Device) const override { return {}; }

  c10::Stream getStream(c10::Device d) const override { return current_stream(index_of(d)); }
  c10::Stream getDefaultStream(c10::Device d) const override { return make_stream(index_of(d), 0); }
  c10::Stream getStreamFromGlobalPool(c10::Device d, bool urgent) const override {
    return getNewStream(d, urgent ? -1 : 0);
  }
  c10::Stream getNewStream(c10::Device d, int priority) const override {
    const auto index = index_of(d);
    return make_stream(index, device(index).new_stream_id(priority < 0));
  }
  c10::Stream exchangeStream(c10::Stream to) const override {
    const auto from = current_stream(to.device_index());
    set_current_stream(to);
    return from;
  }
  void* getStreamNativeHandle(const c10::Stream stream) const override {
    return &stream_of(stream);
  }
  bool isStreamCapturing(const c10::Stream& stream) const override { return Capture::of(stream); }
  bool queryStream(const c10::Stream& stream) const override {
    device(stream.device_index()).check_alive();
    virtual_time().charge_call();
    return stream_of(stream).idle();
  }
  void synchronizeStream(const c10::Stream& stream) const override {
    device(stream.device_index()).synchronize(stream.id());
  }
  void synchronizeDevice(const DeviceIndex index) const override {
    device(index < 0 ? current_device() : index).synchronize();
  }
  void recordDataPtrOnStream(const c10::DataPtr& data, const c10::Stream& stream) const override {
    c10::getDeviceAllocator(kDeviceType)->recordStream(data, stream);
  }

  void record(void** event, const c10::Stream& stream, const DeviceIndex,
              const c10::EventFlag) const override {
    device(stream.device_index()).check_alive();
    virtual_time().charge_call();
    if (*event == nullptr) *event = new EventHandle;
    handle(*event) = {stream_of(stream).record(), stream.device_index()};
  }
  void block(void* event, const c10::Stream& stream) const override {
    device(stream.device_index()).check_alive();
    virtual_time().charge_call();
    if (event != nullptr) stream_of(stream).wait_for(handle(event).last);
  }
  bool queryEvent(void* event) const override {
    if (event == nullptr || !running()) return true;
    device(handle(event).device).check_alive();
    virtual_time().charge_call();
    const Marker& marker = *handle(event).last;
    if (!schedule().reveals(marker)) return false;
    tell_detector(marker);
    return true;
  }
  void synchronizeEvent(void* event) const override {
    if (event == nullptr || !running()) return;
    device(handle(event).device).check_alive();
    const MarkerRef marker = handle(event).last;  // a re-record must not prolong this wait
    counters().synchronisations += 1;
    marker->wait();
    tell_detector(*marker);
    schedule().learn(marker->time());
    device(handle(event).device).raise_fault();
  }
  double elapsedTime(void* begin, void* end, const DeviceIndex) const override {
    return 1e3 * seconds(handle(end).last->time() - handle(begin).last->time());
  }
  void destroyEvent(void* event, const DeviceIndex) const noexcept override {
    delete static_cast<EventHandle*>(event);
  }
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, GuardImpl)

}  // namespace
}  // namespace storm::sim
