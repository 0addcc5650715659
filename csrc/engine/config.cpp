#include "engine/config.h"

#include <bit>

#include "base/bytes.h"
#include "base/check.h"

namespace storm {

void OffloadConfig::validate(c10::Device device, size_t device_total) const {
  TORCH_CHECK_VALUE(std::has_single_bit(slab_bytes) && slab_bytes >= 4096,
                    "slab_bytes must be a power of two of at least 4096, got ", slab_bytes);
  TORCH_CHECK_VALUE(host_bytes >= min_bytes && host_bytes >= 4096,
                    "host_bytes = ", format_bytes(host_bytes),
                    " cannot hold a single tensor of min_bytes = ", format_bytes(min_bytes),
                    ": raise host_bytes or lower min_bytes");
  if (device_total == 0) return;
  const size_t resident = window_bytes + prefetch_bytes + keep_last_bytes;
  TORCH_CHECK_VALUE(resident < device_total,
                    "window_bytes + prefetch_bytes + keep_last_bytes = ", format_bytes(resident),
                    " do not fit into the ", format_bytes(device_total), " of ", device,
                    ": lower them");
}

}  // namespace storm
