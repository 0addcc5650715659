#include "sim/capture.h"

#include <algorithm>
#include <mutex>
#include <vector>

namespace storm::sim {
namespace {

std::mutex mutex;  // guards captured
std::vector<c10::Stream> captured;

}  // namespace

Capture::Capture(const c10::Stream& stream) : stream_(stream) {
  std::lock_guard lock(mutex);
  captured.push_back(stream);
}

Capture::~Capture() {
  std::lock_guard lock(mutex);
  captured.erase(std::find(captured.begin(), captured.end(), stream_));
}

bool Capture::of(const c10::Stream& stream) {
  std::lock_guard lock(mutex);
  return std::find(captured.begin(), captured.end(), stream) != captured.end();
}

}  // namespace storm::sim
