#pragma once
#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <vector>

namespace storm {

// A stream of `device` with high priority that is none of `taken`. Throws when the backend gives
// only those.
c10::Stream own_stream(c10::Device device, const std::vector<c10::Stream>& taken);

// The two streams of a device that bytes move on, the same for the life of the process. Distinct
// from each other, from the default stream and from the stream that was current when they were
// made; `check_compute` refuses any other stream that turns out to be one of them.
class TransferStreams {
 public:
  static TransferStreams of(c10::Device device);

  const c10::Stream& d2h() const { return d2h_; }
  const c10::Stream& h2d() const { return h2d_; }
  void check_compute(const c10::Stream& stream) const;

 private:
  explicit TransferStreams(c10::Device device);
  c10::Stream d2h_, h2d_;
};

}  // namespace storm
