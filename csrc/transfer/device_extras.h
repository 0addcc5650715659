#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>
#include <c10/util/ArrayRef.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "transfer/copy_span.h"

namespace storm {

class HostRegistrar;

// What a vendor's folder was compiled with.
struct VendorBuild {
  std::string toolkit;             // such as "CUDA 13.0"; empty where it is not told
  std::vector<int> architectures;  // major * 100 + minor * 10
};

// What one vendor adds to c10's generic interfaces. A vendor's folder (csrc/cuda) registers its
// own while the extension loads; where nothing is registered, the engine does without, as where a
// vendor leaves a member as it is here. Kernels are not asked for here: they are operations
// (csrc/codec), which torch calls where the tensors are. Any thread may call any member.
struct DeviceExtras {
  virtual ~DeviceExtras() = default;

  virtual VendorBuild built_with() const { return {}; }

  // A stream that nobody else is handed, unlike the 32 that torch's pool deals out round-robin.
  // It lives as long as the process, so ask once per device and purpose and keep it. Lower
  // numbers are more urgent, as everywhere in c10. nullopt: there is none, use the pool.
  // Does not synchronise.
  virtual std::optional<c10::Stream> new_stream(c10::Device /*device*/, int /*priority*/) const {
    return std::nullopt;
  }

  // Registers host memory of ours; see host/registered_memory.h. Lives as long as the process.
  // nullptr: slabs come from torch's pinned allocator.
  virtual const HostRegistrar* host_registrar() const { return nullptr; }

  // Queues copies between pinned host memory and the stream's device, in one call and in the
  // stream's order; among themselves they have none. False: nothing is queued, copy one by one.
  // Does not synchronise.
  virtual bool copy_batch(c10::ArrayRef<CopySpan> /*spans*/, const c10::Stream& /*stream*/) const {
    return false;
  }

  // For the vendor's profiler; see transfer/range.h. Ranges of a thread nest.
  virtual void begin_range(const char* /*name*/) const noexcept {}
  virtual void end_range() const noexcept {}
  virtual void mark(const char* /*name*/) const noexcept {}
};

// At most once per type; the registered object lives as long as the process.
void register_device_extras(c10::DeviceType type, std::unique_ptr<DeviceExtras> extras);

// nullptr when there are none. Any thread, no lock.
const DeviceExtras* device_extras(c10::DeviceType type) noexcept;

}  // namespace storm
