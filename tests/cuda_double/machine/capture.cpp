#include "capture.h"

#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "sim/capture.h"
#include "sim/device.h"
#include "streams.h"

namespace cuda_double {
namespace {

std::mutex mutex;  // guards captured
std::vector<const storm::sim::Stream*> captured;

const storm::sim::Stream* inside(const c10::Stream& stream) {
  return &storm::sim::stream_of(stream);
}

}  // namespace

bool is_captured(int device, cudaStream_t stream) {
  std::lock_guard lock(mutex);
  if (captured.empty()) return false;
  return std::find(captured.begin(), captured.end(), &stream_of(device, stream)) != captured.end();
}

}  // namespace cuda_double

namespace storm::sim {

using namespace cuda_double;

Capture::Capture(const c10::Stream& stream) : stream_(stream) {
  std::lock_guard lock(mutex);
  captured.push_back(inside(stream));
}

Capture::~Capture() {
  std::lock_guard lock(mutex);
  captured.erase(std::find(captured.begin(), captured.end(), inside(stream_)));
}

bool Capture::of(const c10::Stream& stream) {
  return is_captured(stream.device_index(), c10::cuda::CUDAStream(stream).stream());
}

}  // namespace storm::sim
