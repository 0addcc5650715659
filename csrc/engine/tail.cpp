#include "engine/tail.h"

namespace storm {

bool Tail::is_last(Run& run, size_t bytes) {
  std::lock_guard lock(mutex_);
  const size_t index = run.sizes.size();
  run.sizes.push_back(bytes);
  run.same = run.same && index < previous_.size() && previous_[index] == bytes;
  return run.same && index >= first_last_;
}

void Tail::learn(Run&& run) {
  if (run.sizes.empty()) return;
  std::lock_guard lock(mutex_);
  previous_ = std::move(run.sizes);
  first_last_ = previous_.size();
  size_t sum = 0;
  while (first_last_ > 0 && sum + previous_[first_last_ - 1] <= keep_bytes_)
    sum += previous_[--first_last_];
}

}  // namespace storm
