#include "sim/schedule.h"

#include <c10/util/Exception.h>

#include "sim/mix.h"

namespace storm::sim {
namespace {

std::atomic<uint64_t> g_contexts{0};

uint64_t draw(uint64_t seed, uint64_t a, uint64_t b, uint64_t c) {
  return mix(mix(mix(mix(seed) ^ a) ^ b) ^ c);
}

// Half of the tasks start at once, three eighths soon, one eighth anywhere up to the longest delay.
int64_t shape(uint64_t random, int64_t longest) {
  const uint64_t kind = random & 7;
  if (kind < 4) return 0;
  const double fraction = static_cast<double>(random >> 11) * 0x1p-53;
  return static_cast<int64_t>(fraction * static_cast<double>(kind < 7 ? longest / 16 : longest));
}

}  // namespace

void Schedule::begin(uint64_t seed, std::chrono::nanoseconds max_delay) {
  TORCH_CHECK_VALUE(max_delay.count() >= 0, "sim: fuzz cannot delay by a negative time");
  TORCH_CHECK(context_ == 0, "sim: a fuzz context is in force already; it covers all streams");
  seed_ = seed;
  max_ns_ = max_delay.count();
  given_ns_ = 0;
  queries_ = 0;
  streams_ = 0;
  known_until_ = now().time_since_epoch().count();
  context_ = ++g_contexts;
}

void Schedule::end() noexcept {
  context_ = 0;
}

std::chrono::nanoseconds Schedule::next_delay(int device, FuzzPosition& position) noexcept {
  const uint64_t context = context_.load(std::memory_order_acquire);
  if (context == 0) return {};
  if (position.context != context) position = {context, streams_++, 0};
  const auto place = (static_cast<uint64_t>(device) << 32) + position.stream;
  const int64_t delay = shape(draw(seed_, 1, place, position.next++), max_ns_);
  given_ns_ += delay;
  return std::chrono::nanoseconds(delay);
}

bool Schedule::reveals(const Marker& marker) noexcept {
  if (!marker.reached()) return false;
  if (context_.load(std::memory_order_acquire) == 0) return true;
  const TimePoint reached = marker.time();
  const bool known = reached.time_since_epoch().count() <= known_until_;
  const bool old = now() - reached >= std::chrono::nanoseconds(max_ns_);
  if (!known && !old && (draw(seed_, 2, queries_++, 0) & 1) != 0) return false;
  learn(reached);
  return true;
}

void Schedule::learn(TimePoint when) noexcept {
  if (context_.load(std::memory_order_relaxed) == 0) return;
  const auto time = when.time_since_epoch().count();
  auto known = known_until_.load();
  while (time > known && !known_until_.compare_exchange_weak(known, time)) {
  }
}

Schedule& schedule() noexcept {
  static auto* instance = new Schedule;
  return *instance;
}

}  // namespace storm::sim
