#pragma once

#include <c10/core/Device.h>
#include <c10/core/Stream.h>

namespace storm::cuda {

// A new non-blocking stream; see "Streams of our own" in README.md for who owns it. A priority
// outside what the device offers is moved to the nearest one it has. Does not synchronise.
c10::Stream create_stream(c10::Device device, int priority);

}  // namespace storm::cuda
