#include "publish/streams.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <map>
#include <mutex>

#include "transfer/streams.h"

namespace storm {

PublishStreams::PublishStreams(c10::Device device)
    : inference_(c10::Stream::DEFAULT, device), publication_(c10::Stream::DEFAULT, device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  const auto transfer = TransferStreams::of(device);
  std::vector<c10::Stream> taken{guard.getDefaultStream(device), guard.getStream(device),
                                 transfer.d2h(), transfer.h2d()};
  inference_ = own_stream(device, taken);
  taken.push_back(inference_);
  publication_ = own_stream(device, taken);
}

PublishStreams PublishStreams::of(c10::Device device) {
  // mutex guards made; held while the device is asked, so that two threads cannot both ask
  static std::mutex mutex;
  static std::map<std::pair<c10::DeviceType, c10::DeviceIndex>, PublishStreams> made;
  std::lock_guard lock(mutex);
  const std::pair key{device.type(), device.index()};
  auto found = made.find(key);
  if (found == made.end()) found = made.emplace(key, PublishStreams(device)).first;
  return found->second;
}

}  // namespace storm
