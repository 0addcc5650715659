#include "transfer/streams.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "base/check.h"
#include "transfer/device_extras.h"

namespace storm {
namespace {

// A backend's pool is shared and finite (CUDA hands out 32 in turn): ask until the stream is
// nobody's.
constexpr int kAttempts = 64;

}  // namespace

c10::Stream own_stream(c10::Device device, const std::vector<c10::Stream>& taken) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  const auto* extras = device_extras(device.type());
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::optional<c10::Stream> own;
    if (extras != nullptr) own = extras->new_stream(device, /*priority=*/-1);
    const c10::Stream stream =
        own ? *own : guard.getStreamFromGlobalPool(device, /*isHighPriority=*/true);
    bool is_taken = false;
    for (const auto& other : taken) is_taken |= other == stream;
    if (!is_taken) return stream;
  }
  TORCH_CHECK(false, "pamiq_storm needs streams of ", device,
              " besides the compute stream, and the backend gave no other in ", kAttempts,
              " tries");
}

TransferStreams::TransferStreams(c10::Device device)
    : d2h_(c10::Stream::DEFAULT, device), h2d_(c10::Stream::DEFAULT, device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  std::vector<c10::Stream> taken{guard.getDefaultStream(device), guard.getStream(device)};
  d2h_ = own_stream(device, taken);
  taken.push_back(d2h_);
  h2d_ = own_stream(device, taken);
}

TransferStreams TransferStreams::of(c10::Device device) {
  static std::mutex
      mutex;  // guards made; held while the device is asked, so that two threads cannot both ask
  static std::map<std::pair<c10::DeviceType, c10::DeviceIndex>, TransferStreams> made;
  std::lock_guard lock(mutex);
  const std::pair key{device.type(), device.index()};
  auto found = made.find(key);
  if (found == made.end()) found = made.emplace(key, TransferStreams(device)).first;
  return found->second;
}

void TransferStreams::check_compute(const c10::Stream& stream) const {
  TORCH_CHECK(stream != d2h_ && stream != h2d_, "stream ", stream.id(), " of ", stream.device(),
              " is one of pamiq_storm's transfer streams and cannot also compute: run the model on "
              "another stream");
}

}  // namespace storm
