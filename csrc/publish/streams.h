#pragma once
#include <c10/core/Stream.h>

namespace storm {

// The streams of a device for live models, the same for the life of the process, distinct from the
// compute stream, from the transfer streams and from each other.
class PublishStreams {
 public:
  static PublishStreams of(c10::Device device);

  const c10::Stream& inference() const { return inference_; }      // what readers compute on
  const c10::Stream& publication() const { return publication_; }  // what snapshots are filled on

 private:
  explicit PublishStreams(c10::Device device);
  c10::Stream inference_, publication_;
};

}  // namespace storm
