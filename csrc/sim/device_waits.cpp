// What waits for a device's streams, whoever keeps them.
#include "sim/counters.h"
#include "sim/device.h"
#include "sim/lifecycle.h"
#include "sim/settings.h"

namespace storm::sim {

void Device::synchronize() {
  faults_.check_alive();
  counters().synchronisations += 1;
  for (auto* stream : all_streams()) stream->drain();
  raise_fault();
}

void Device::synchronize(c10::StreamId id) {
  faults_.check_alive();
  counters().synchronisations += 1;
  stream(id).drain();
  raise_fault();
}

void Device::synchronize_implicitly(c10::StreamId id) {
  faults_.check_alive();
  counters().synchronisations += 1;
  stream(id).drain_implicitly();
  raise_fault();
}

void Device::revive() noexcept {
  if (!faults_.lost()) return;
  if (phase() == Phase::forked) return;  // its streams stayed with the parent
  for (auto* stream : all_streams()) stream->drain();
  faults_.revive();
}

void Device::quiesce(TimePoint deadline) {
  for (auto* stream : all_streams()) stream->quiesce(deadline);
}

DeviceIndex device_count() noexcept {
  return static_cast<DeviceIndex>(settings().devices.load());
}

}  // namespace storm::sim
