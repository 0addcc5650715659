#pragma once
#include <c10/core/impl/VirtualGuardImpl.h>

#include <optional>

#include "publish/copy_storages.h"
#include "publish/snapshot.h"

namespace storm {

// The copies of one publication and their place in the device's order: behind what the publishing
// thread has issued, on the publication stream, and before what that thread issues next. Host
// memory is copied at once. Does not synchronise.
class Filling {
 public:
  explicit Filling(const ModelLayout& layout);
  ~Filling();  // after an error: what was issued comes before any further use of the memory
  Filling(const Filling&) = delete;
  Filling& operator=(const Filling&) = delete;

  // From now on: behind what the current stream was given so far.
  void begin();
  void add(void* to, const void* from, size_t bytes, c10::Device device);
  // Issues the copies, those of opaque tensors of `next` too.
  void run(Snapshot* next);
  // Lets the current stream wait for the copies.
  void end();

  // Behind it the live values are there, or the copies are. Null where they are already: on the
  // CPU, and the live ones where the current stream has nothing left to do. (An event recorded to
  // find that out would take the device longer than asking.)
  const EventRef& written() const { return written_; }
  const EventRef& copied() const { return copied_; }
  const std::optional<c10::Stream>& stream() const { return side_; }
  size_t copied_bytes() const { return copied_bytes_; }

 private:
  const ModelLayout& layout_;
  std::optional<c10::impl::VirtualGuardImpl> guard_;
  std::optional<c10::Stream> home_, side_;
  std::vector<CopySpan> on_host_, on_device_;
  EventRef written_, copied_;
  size_t copied_bytes_ = 0;
  bool issued_ = false;  // copies that no event is behind yet
};

}  // namespace storm
