// What an actor knows of the others: for each, how many of its operations are over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace storm::sim {

using Actor = uint32_t;  // dense, in the order of first use

class VectorClock {
 public:
  uint64_t of(Actor actor) const noexcept { return actor < ticks_.size() ? ticks_[actor] : 0; }
  uint64_t tick(Actor actor) {
    if (actor >= ticks_.size()) ticks_.resize(actor + 1);
    return ++ticks_[actor];
  }
  // Whether there was anything to learn.
  bool join(const VectorClock& other) {
    if (other.ticks_.size() > ticks_.size()) ticks_.resize(other.ticks_.size());
    bool learnt = false;
    for (size_t i = 0; i < other.ticks_.size(); ++i) {
      if (other.ticks_[i] <= ticks_[i]) continue;
      ticks_[i] = other.ticks_[i];
      learnt = true;
    }
    return learnt;
  }

 private:
  std::vector<uint64_t> ticks_;
};

// A clock as it was once; null while the detector is off.
using Moment = std::shared_ptr<const VectorClock>;

}  // namespace storm::sim
