#include "sim/copy_engine.h"

#include <algorithm>

#include "sim/lifecycle.h"

namespace storm::sim {
namespace {

constexpr size_t kPiece = size_t{1} << 20;

TimePoint after(TimePoint start, size_t bytes, double rate) {
  return start + std::chrono::nanoseconds(static_cast<int64_t>(bytes / rate * 1e9));
}

}  // namespace

class CopyEngine::Turn {
 public:
  explicit Turn(CopyEngine& engine) : engine_(engine) {
    std::unique_lock lock(engine_.mutex_);
    const uint64_t ticket = engine_.next_ticket_++;
    engine_.changed_.wait(lock, [&] { return engine_.serving_ == ticket; });
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() {
    {
      std::lock_guard lock(engine_.mutex_);
      ++engine_.serving_;
    }
    engine_.changed_.notify_all();
  }

 private:
  CopyEngine& engine_;
};

void CopyEngine::transfer(size_t bytes, double rate, c10::function_ref<void(size_t, size_t)> move) {
  const TimePoint arrived = now();
  Turn turn(*this);
  // Copies that queued up follow each other without a gap, so that late wake-ups cost no bandwidth.
  const TimePoint start = std::max(arrived, free_at_);
  for (size_t begin = 0; begin < bytes && running(); begin += kPiece) {
    const size_t end = std::min(begin + kPiece, bytes);
    move(begin, end);
    if (rate > 0) sleep_until(after(start, end, rate));
  }
  free_at_ = rate > 0 ? std::max(after(start, bytes, rate), start) : now();
  counters_.copies += 1;
  counters_.bytes += static_cast<int64_t>(bytes);
  counters_.busy_ns += nanoseconds(std::max(free_at_, now()) - start);
}

}  // namespace storm::sim
