#pragma once
#include <c10/core/Device.h>
#include <c10/core/Stream.h>

#include <cstddef>
#include <vector>

#include "transfer/copy_span.h"

namespace storm {

// Host memory, by the calling thread; does not fail.
void copy_on_host(const std::vector<CopySpan>& spans);

// Memory of `device`, in the order of its current stream. Does not synchronise.
void copy_on_device(const std::vector<CopySpan>& spans, c10::Device device);

}  // namespace storm
