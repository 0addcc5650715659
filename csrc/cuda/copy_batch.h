#pragma once

#include <c10/core/Stream.h>
#include <c10/util/ArrayRef.h>

#include "transfer/copy_span.h"

namespace storm::cuda {

// DeviceExtras::copy_batch with the driver's cuMemcpyBatchAsync, where it has it.
bool copy_batch(c10::ArrayRef<CopySpan> spans, const c10::Stream& stream);

}  // namespace storm::cuda
